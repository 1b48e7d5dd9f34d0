"""Rollouts through TRL's own vLLM backend: an engine or a server that thinks in mixtures, and its records."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from math import isnan, nan
from typing import Any

import torch.distributed as dist
from trl import GRPOTrainer
from trl.generation import vllm_generation

from mot_trl.engines.vllm import ask_for_records, check_version, load_engine, record_shape_of
from mot_trl.engines.vllm_records import from_texts, read_records, token_logprobs
from mot_trl.generation.decoder import MixtureDecoder
from mot_trl.modeling.rollout import Rollout
from mot_trl.trainer.config import MoTGRPOConfig
from mot_trl.trainer.vllm_client import MixtureClient


class VLLMTrainer(GRPOTrainer):
    """TRL's trainer, whose vLLM engine thinks in mixtures: one in the same process, or a server's.

    TRL has no hook for the classes of engine and client, nor for what they return beside the tokens. So its module's
    `LLM` and `VLLMClient` are bound to ours while it makes its backend, and `generate` while it generates.
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

        make_client = partial(MixtureClient, args.decoder)
        with _bound(vllm_generation, "LLM", make_engine), _bound(vllm_generation, "VLLMClient", make_client):
            super().__init__(model, reward_funcs, args, *trl_args, **trl_kwargs)

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
        """Generate with vLLM, and keep its record."""
        if not self.use_vllm or self.decoder is None:
            return super()._generate_single_turn(*args, **kwargs)
        if self.vllm_mode == "server":
            with _bound(self.vllm_generation, "generate", self._receiving(self.decoder)):
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
            for completion, logps in zip(completions, _logps_for_trl(record), strict=True):
                completion.logprobs = token_logprobs(completion.token_ids, logps)
            self._engine_record = self._own_rows(record).to(self.accelerator.device)
            return outputs

        return generate_with_record

    def _receiving(self, decoder: MixtureDecoder) -> Callable[..., Any]:
        """The backend's `generate`, which leaves a server's record here and log-probabilities as TRL reads them."""
        generate = self.vllm_generation.generate

        def generate_with_record(*args: Any, **kwargs: Any) -> Any:
            prompt_ids, completion_ids, _, texts = generate(*args, **kwargs)
            record = from_texts(texts)
            if record.lengths.tolist() != [len(ids) for ids in completion_ids]:
                raise RuntimeError("The vLLM server's completions are not those of its records.")
            # The server draws probes in any case: it does not know who will ask.
            probes = {} if decoder.draws_probes else {"probe_ids": None, "probe_logps": None}
            self._engine_record = replace(record, **probes).to(self.accelerator.device)
            logps = [[[None if isnan(each) else each] for each in row] for row in _logps_for_trl(record)]
            return prompt_ids, completion_ids, logps, None

        return generate_with_record

    def _own_rows(self, record: Rollout) -> Rollout:
        """This process's rows, as TRL takes its completions: an engine of several processes generates for all."""
        backend = self.vllm_generation
        if backend.tensor_parallel_size == 1:
            return record
        size = len(record.lengths) // backend.tensor_parallel_size
        start = dist.get_rank(group=backend.tp_group) * size
        return record.rows(start, start + size)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """Give forced tokens a log-probability again, once TRL has made its ratios."""
        batch = super()._generate_and_score_completions(inputs)
        if self.decoder is not None and "sampling_per_token_logps" in batch:
            batch["sampling_per_token_logps"] = batch["sampling_per_token_logps"].nan_to_num(nan=0.0)
        return batch


def _logps_for_trl(record: Rollout) -> list[list[float]]:
    """The draws' log-probabilities, as TRL's correction for two engines wants them.

    TRL leaves a token out of it, with a ratio of exactly 1, where vLLM gives NaN: a forced token was not drawn.
    """
    rows = zip(record.logps.masked_fill(record.forced_mask, nan).tolist(), record.lengths.tolist(), strict=True)
    return [row[:length] for row, length in rows]


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
