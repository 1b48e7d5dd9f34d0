"""vLLM as an engine for mixtures: make one, see that it took them, and generate with records."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoConfig

from mot_trl.engines.vllm_plugin import ARCHITECTURES, PREFIX, SETTINGS, register
from mot_trl.engines.vllm_records import RecordShape, read_records
from mot_trl.extras import install_hint
from mot_trl.generation.config import DecoderConfig
from mot_trl.modeling.rollout import Rollout

VERSIONS = ("0.29", "0.30")
"""Releases of vLLM that the plug-in was tried with; what it relies on moves between releases."""


def load_engine(model: str, decoder: DecoderConfig, **vllm_arguments: Any) -> Any:
    """Make a vLLM engine (`vllm.LLM`) that thinks in mixtures.

    Args:
        model: Name or folder of a checkpoint.
        vllm_arguments: As for `vllm.LLM`.

    Raises:
        ImportError: vLLM is not installed.
        ValueError: This version of vLLM, the model's architecture or an argument was not tried with mixtures.
        RuntimeError: vLLM fell back to a model runner that knows no mixtures.
    """
    check_version()
    from vllm import LLM  # ty: ignore[import-not-found]

    register()  # where the package is on the path and not installed, vLLM does not find its entry point
    own = _engine_arguments(model, decoder, trust_remote_code=vllm_arguments.get("trust_remote_code", False))
    if clash := sorted(set(own) & set(vllm_arguments)):
        raise ValueError(f"Mixtures set vLLM's {', '.join(f'`{name}`' for name in clash)} themselves; leave it out.")
    llm = LLM(model=model, **own, **vllm_arguments)
    if not all(llm.collective_rpc("thinks_in_mixtures")):
        raise RuntimeError(
            "vLLM fell back to its first model runner, which would think in plain tokens; its log says why. Mixtures "
            "need Model Runner V2: unset `VLLM_USE_V2_MODEL_RUNNER`, and remove plug-ins that it does not support."
        )
    return llm


def generate_with_record(
    llm: Any, prompt_ids: Sequence[Sequence[int]], sampling_params: Any
) -> tuple[Int[Tensor, "B C"], Rollout]:
    """Complete prompts of token ids, `sampling_params.n` times each.

    Returns:
        The completions, padded with 0 on the right, and their record.

    Raises:
        RuntimeError: The engine did not think in mixtures.
    """
    ask_for_records(llm, sampling_params)
    prompts = [{"prompt_token_ids": list(ids)} for ids in prompt_ids]
    outputs = llm.generate(prompts, sampling_params=sampling_params, use_tqdm=False)
    completions = [completion for request in outputs for completion in request.outputs]
    ids = [torch.tensor(completion.token_ids) for completion in completions]
    return pad_sequence(ids, batch_first=True), read_records(completions, record_shape_of(llm))


def ask_for_records(llm: Any, sampling_params: Any) -> None:
    """Let requests with these parameters bring their records back.

    Raises:
        ValueError: A parameter is one that mixtures do not honor.
    """
    for name in ("seed", "structured_outputs"):
        if getattr(sampling_params, name) is not None:
            raise ValueError(f"vLLM's `{name}` of a request does not go together with mixtures; leave it out.")
    sampling_params.logprobs, sampling_params.flat_logprobs = record_shape_of(llm).width - 1, True
    # vLLM would look up the text of each candidate; only stop strings need any.
    sampling_params.detokenize = bool(sampling_params.stop)


def record_shape_of(llm: Any) -> RecordShape:
    """What the records of an engine hold of each token."""
    return RecordShape(*llm.collective_rpc("record_shape")[0])


def check_version() -> None:
    """Refuse a vLLM that was not tried.

    Raises:
        ImportError: vLLM is not installed.
        ValueError: It has another version.
    """
    try:
        import vllm  # ty: ignore[import-not-found]
    except ImportError as error:
        raise ImportError(f"vLLM is not installed: {install_hint('vllm')}") from error
    if ".".join(vllm.__version__.split(".")[:2]) not in VERSIONS:
        raise ValueError(
            f"Mixtures were tried with vLLM {' and '.join(VERSIONS)}, and {vllm.__version__} is installed; one that "
            f"fits: {install_hint('vllm')}"
        )


def _engine_arguments(model: str, decoder: DecoderConfig, *, trust_remote_code: bool) -> dict[str, Any]:
    config = AutoConfig.from_pretrained(model, trust_remote_code=trust_remote_code)
    architecture = (config.architectures or ["a model without a name"])[0]
    if architecture not in ARCHITECTURES:
        raise ValueError(
            f"{architecture} was not tried with mixtures on vLLM; those that were: {', '.join(ARCHITECTURES)}. Leave "
            "`use_vllm` out to generate with the library's own decoder."
        )
    return {
        "hf_overrides": {"architectures": [PREFIX + architecture]},
        "additional_config": {SETTINGS: decoder.to_dict()},
        "scheduler_cls": "mot_trl.engines.vllm_scheduler.MixtureScheduler",
        "worker_extension_cls": "mot_trl.engines.vllm_model.MixtureWorker",
        # Records travel in them, and the number of candidates is the strategy's own.
        "max_logprobs": -1,
    }
