"""Rollouts through TRL's own vLLM backend: an engine that thinks in mixtures, and its records."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import torch
from trl import GRPOTrainer
from trl.generation import vllm_generation

from mot_trl.engines.vllm import ask_for_records, check_version, load_engine, record_shape_of
from mot_trl.engines.vllm_records import read_records
from mot_trl.generation.decoder import MixtureDecoder
from mot_trl.modeling.rollout import Rollout
from mot_trl.trainer.config import MoTGRPOConfig


class VLLMTrainer(GRPOTrainer):
    """TRL's trainer, whose vLLM engine thinks in mixtures where `use_vllm` asks for one in the same process.

    TRL has no hook for the engine's class, nor for what it returns beside the tokens. So its module's `LLM` is bound
    to ours while it makes its backend, and the engine's `generate` while it generates.
    """

    decoder: MixtureDecoder | None

    def __init__(self, model: Any, reward_funcs: Any, args: MoTGRPOConfig, *trl_args: Any, **trl_kwargs: Any) -> None:
        self._engine_decoder: MixtureDecoder | None = None
        self._engine_record: Rollout | None = None
        if not args.use_vllm or args.normal_generation:
            super().__init__(model, reward_funcs, args, *trl_args, **trl_kwargs)
            return
        check_version()
        given: Any = args.vllm_engine_kwargs or {}

        def make_engine(*, model: str, **arguments: Any) -> Any:
            return load_engine(model, args.decoder, **{**arguments, **given})

        with _bound(vllm_generation, "LLM", make_engine):
            super().__init__(model, reward_funcs, args, *trl_args, **trl_kwargs)

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
        """Generate with vLLM, and keep its record."""
        if not self.use_vllm or self.decoder is None:
            return super()._generate_single_turn(*args, **kwargs)
        llm = self.vllm_generation.llm
        if self._engine_decoder is not self.decoder:
            # The engine knows the decoder by its settings: not a strategy of the user's own, nor the tokenizer here.
            llm.collective_rpc("use_decoder", args=(self.decoder,))
            self._engine_decoder = self.decoder
        with _bound(llm, "generate", self._recording(llm)):
            return super()._generate_single_turn(*args, **kwargs)

    def _recording(self, llm: Any) -> Callable[..., Any]:
        """The engine's `generate`, which leaves its record here and log-probabilities as TRL reads them."""
        generate = llm.generate

        def generate_with_record(prompts: Any, *, sampling_params: Any, **kwargs: Any) -> Any:
            ask_for_records(llm, sampling_params)
            outputs = generate(prompts, sampling_params=sampling_params, **kwargs)
            completions = [completion for request in outputs for completion in request.outputs]
            record = read_records(completions, record_shape_of(llm))
            for completion, logps, forced in zip(completions, record.logps, record.forced_mask, strict=True):
                completion.logprobs = _logprobs_for_trl(completion.token_ids, logps, forced)
            tensors = {name: value.to(self.accelerator.device) for name, value in record.to_batch().items()}
            self._engine_record = Rollout.from_batch(tensors)
            return outputs

        return generate_with_record

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """Give forced tokens a log-probability again, once TRL has made its ratios."""
        batch = super()._generate_and_score_completions(inputs)
        if self.decoder is not None and "sampling_per_token_logps" in batch:
            batch["sampling_per_token_logps"] = batch["sampling_per_token_logps"].nan_to_num(nan=0.0)
        return batch


def _logprobs_for_trl(token_ids: list[int], logps: torch.Tensor, forced: torch.Tensor) -> list[dict[int, Any]]:
    """The draws' log-probabilities in the tokens' place, as TRL's correction for two engines wants them.

    TRL leaves a token out of it, with a ratio of exactly 1, where vLLM gives NaN: a forced token was not drawn.
    """
    from vllm.logprobs import Logprob  # ty: ignore[import-not-found]

    values = logps.masked_fill(forced, torch.nan)[: len(token_ids)].tolist()
    return [{token_id: Logprob(value, rank=1)} for token_id, value in zip(token_ids, values, strict=True)]


@contextmanager
def _bound(owner: Any, name: str, value: Any) -> Generator[None]:
    """Let an attribute have another value for a while."""
    was_own, own = name in vars(owner), getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if was_own:
            setattr(owner, name, own)
        else:
            delattr(owner, name)
