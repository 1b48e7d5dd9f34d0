"""vLLM as an engine for mixtures: make one, see that it took them, and generate with records."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
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
from mot_trl.generation.decoder import MixtureDecoder
from mot_trl.generation.step import StepRules
from mot_trl.modeling.loading import ADAPTER_CONFIG
from mot_trl.modeling.rollout import Rollout

VERSIONS = ("0.29", "0.30")
"""Releases of vLLM that the plug-in was tried with; what it relies on moves between releases."""

NO_MIXTURES = (
    "vLLM fell back to its first model runner, which would think in plain tokens; its log says why. Mixtures need "
    "Model Runner V2: unset `VLLM_USE_V2_MODEL_RUNNER`, and remove plug-ins that it does not support."
)

ARGUMENTS = {
    "max_new_tokens": "max_tokens",
    "min_new_tokens": "min_tokens",
    "num_return_sequences": "n",
    "stop_strings": "stop",
    "eos_token_id": "stop_token_ids",
    **{name: name for name in ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")},
}
"""transformers' names of what both can do, and vLLM's."""

# Of a request: our draws take no seed, and what a thought is drawn from is not to be picked token by token.
NOT_HONORED = ("seed", "structured_outputs", "thinking_token_budget", "logprob_token_ids")


def load_engine(model: str, decoder: DecoderConfig, **vllm_arguments: Any) -> Any:
    """Make a vLLM engine (`vllm.LLM`) that thinks in mixtures, for `mot_trl.generate(..., engine=...)`, too.

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
    trusted = vllm_arguments.get("trust_remote_code", False)
    own = engine_arguments(model, decoder, vllm_arguments, trust_remote_code=trusted)
    llm = type("MixtureLLM", (LLM,), {"complete": complete})(model=model, **own, **vllm_arguments)
    if not all(llm.collective_rpc("thinks_in_mixtures")):
        raise RuntimeError(NO_MIXTURES)
    return llm


def generate_with_record(
    llm: Any, prompt_ids: Sequence[Sequence[int]], sampling_params: Any, *, pad_token_id: int = 0
) -> tuple[Int[Tensor, "B C"], Rollout]:
    """Complete prompts of token ids, `sampling_params.n` times each.

    Returns:
        The completions, padded on the right, and their record.

    Raises:
        RuntimeError: The engine did not think in mixtures.
    """
    ask_for_records(llm, sampling_params)
    prompts = [{"prompt_token_ids": list(ids)} for ids in prompt_ids]
    outputs = llm.generate(prompts, sampling_params=sampling_params, use_tqdm=False)
    completions = [completion for request in outputs for completion in request.outputs]
    ids = [torch.tensor(completion.token_ids) for completion in completions]
    padded = pad_sequence(ids, batch_first=True, padding_value=pad_token_id)
    return padded, read_records(completions, record_shape_of(llm))


def complete(
    llm: Any,
    prompt_ids: Sequence[Sequence[int]],
    decoder: MixtureDecoder | None,
    *,
    pad_token_id: int = 0,
    **generation_kwargs: Any,
) -> tuple[Int[Tensor, "B C"], Rollout]:
    """Complete prompts as `decoder` does (None: as the engine was made), in the form of `mot_trl.generate`'s engines.

    Torch's random state decides the draws, as without an engine, if vLLM's scheduling is the same again.

    Args:
        generation_kwargs: Those of transformers' `generate` that vLLM has, too.

    Raises:
        ValueError: There are others, or nothing bounds the length.
    """
    import cloudpickle  # ty: ignore[import-not-found]

    params = _sampling_params(llm, generation_kwargs)
    rules = None
    if decoder is not None:
        rules = StepRules(decoder.strategy, decoder.phases, decoder.mixture_score, decoder.draws_probes)
    # As bytes, for workers in processes of their own, whose random numbers are their own, too.
    llm.collective_rpc("begin", args=(cloudpickle.dumps(rules), int(torch.randint(1 << 62, ()))))
    return generate_with_record(llm, prompt_ids, params, pad_token_id=pad_token_id)


def ask_for_records(llm: Any, sampling_params: Any) -> None:
    """Let requests with these parameters bring their records back.

    Raises:
        ValueError: A parameter is one that mixtures do not honor.
    """
    check_params(sampling_params)
    sampling_params.logprobs, sampling_params.flat_logprobs = record_shape_of(llm).width - 1, True
    # vLLM would look up the text of each candidate; only stop strings need any.
    sampling_params.detokenize = bool(sampling_params.stop)


def check_params(sampling_params: Any) -> None:
    """Refuse a request that asks for what mixtures do not honor.

    Raises:
        ValueError: The message names the parameter.
    """
    for name in NOT_HONORED:
        if getattr(sampling_params, name, None) is not None:
            raise ValueError(f"vLLM's `{name}` of a request does not go together with mixtures; leave it out.")


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


def _sampling_params(llm: Any, generation_kwargs: Mapping[str, Any]) -> Any:
    """What transformers' arguments ask for, over the checkpoint's own defaults."""
    from vllm import SamplingParams  # ty: ignore[import-not-found]

    given = {name: value for name, value in generation_kwargs.items() if value is not None}
    greedy = not given.pop("do_sample", True)
    if unknown := sorted(set(given) - set(ARGUMENTS)):
        raise ValueError(f"vLLM takes no {', '.join(f'`{name}`' for name in unknown)}; it takes {sorted(ARGUMENTS)}.")
    # As for our own decoder, mixtures are drawn from all tokens.
    settings = {**llm.model_config.get_diff_sampling_param(), "top_k": 0}
    settings |= {ARGUMENTS[name]: value for name, value in given.items()}
    if "max_tokens" not in settings:
        raise ValueError("Set `max_new_tokens`: a completion needs a maximum length.")
    if "eos_token_id" in given:
        ends = given["eos_token_id"]
        settings |= {"stop_token_ids": [ends] if isinstance(ends, int) else ends, "ignore_eos": True}
    return SamplingParams(**{**settings, **({"temperature": 0.0} if greedy else {})})


def engine_arguments(
    model: str, decoder: DecoderConfig, given: Collection[str], *, trust_remote_code: bool = False
) -> dict[str, Any]:
    """The arguments of vLLM's engine that make it think in mixtures.

    Args:
        given: Names of those that the user sets.

    Raises:
        ValueError: The model's architecture, its size or an argument was not tried with mixtures.
    """
    if (Path(model) / ADAPTER_CONFIG).is_file():
        raise ValueError(
            f"{model!r} is an adapter, and vLLM's engine takes whole models: `merge_and_unload()` it into its base, "
            "and save that."
        )
    config = AutoConfig.from_pretrained(model, trust_remote_code=trust_remote_code)
    architecture = (config.architectures or ["a model without a name"])[0]
    if architecture not in ARCHITECTURES:
        raise ValueError(
            f"{architecture} was not tried with mixtures on vLLM; those that were: {', '.join(ARCHITECTURES)}. Leave "
            "`use_vllm` out to generate with the library's own decoder."
        )
    num_candidates, vocabulary = decoder.complete().strategy_kwargs["k"], config.vocab_size
    if num_candidates > vocabulary:
        raise ValueError(f"A mixture of {num_candidates} tokens is beyond the model's vocabulary of {vocabulary}.")
    own = {
        "hf_overrides": {"architectures": [PREFIX + architecture]},
        "additional_config": {SETTINGS: decoder.to_dict()},
        "scheduler_cls": "mot_trl.engines.vllm_scheduler.MixtureScheduler",
        "worker_extension_cls": "mot_trl.engines.vllm_model.MixtureWorker",
        # Records travel in them, and the number of candidates is the strategy's own.
        "max_logprobs": -1,
    }
    # On a command line a name may set one entry of a dict, behind a dot.
    if clash := sorted(set(own) & {name.partition(".")[0] for name in given}):
        raise ValueError(f"Mixtures set vLLM's {', '.join(f'`{name}`' for name in clash)} themselves; leave it out.")
    return own
