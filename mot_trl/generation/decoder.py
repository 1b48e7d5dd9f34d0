"""The mixture decoder for transformers' `generate`: its sampling loop, with mixtures fed while a row is thinking."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Thread, current_thread
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from mot_trl.generation.decoding_loop import DecodingLoop
from mot_trl.generation.forward_pass import ForwardPass
from mot_trl.generation.ignored_settings import check_generation_config
from mot_trl.generation.logits_processors import temperature_of
from mot_trl.generation.phases import Phases
from mot_trl.generation.step import StepRules
from mot_trl.modeling.cpu_linear import onednn_linears
from mot_trl.modeling.embedding import blend_of, override_embeddings
from mot_trl.modeling.patching import evaluating
from mot_trl.modeling.rollout import Rollout
from mot_trl.strategies import Strategy, check_strategy
from mot_trl.strategies.surrogate import LogProbType


class _Call(NamedTuple):
    completion_ids: Int[Tensor, "B C"]
    rollout: Rollout
    temperature: float | None


@dataclass
class MixtureDecoder:
    """Decodes like transformers' sampling loop, but feeds the model mixtures while a row is thinking.

    Pass it as `model.generate(..., custom_generate=decoder)`: logits processors, stopping criteria and the generation
    config keep their meaning. Instead of `stop_strings` pass a `StopStringCriteria`, since transformers does not pass
    a tokenizer on. With `do_sample=False`, the limit of zero temperature, every mixture is its likeliest token alone.

    Adjacent equal prompts are read once; in float32 on a CPU with `sdpa` attention, their keys and values are also
    stored and attended to once. Finished rows leave the batch, and the cache grows in place, unless you pass a cache
    of your own, which is left as transformers leaves it. With a logits processor or stopping criterion of your own,
    rows leave only if it has an attribute `rowwise = True`: it keeps no state of single rows.

    A model in training mode is in evaluation mode meanwhile: no dropout, and a cache under gradient checkpointing.
    Several threads may decode with one model at once.

    Attributes:
        mixture_score: How `rollout.logps` scores a mixture: `density`, `expected` or `visible`.
        draws_probes: Whether to draw and record one more token per thought, from p itself (`Rollout.probe_ids`).
    """

    strategy: Strategy
    phases: Phases
    mixture_score: LogProbType = "density"
    draws_probes: bool = False
    _calls: WeakKeyDictionary[Thread, _Call] = field(default_factory=WeakKeyDictionary, init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse what is no strategy with a TypeError."""
        check_strategy(self.strategy)

    @property
    def rollout(self) -> Rollout | None:
        """The record of this thread's last call, one row a completion; None before the first."""
        call = self._calls.get(current_thread())
        return None if call is None else call.rollout

    def forget(self) -> None:
        """Drop the record of this thread's last call."""
        self._calls.pop(current_thread(), None)

    def rollout_of(self, completion_ids: Sequence[Sequence[int]]) -> Rollout:
        """The record of this thread's last call, which must have decoded these completions, perhaps to a longer end.

        Raises:
            RuntimeError: The decoder was not called since `forget`, or decoded others: a model's `generate` that drops
                `custom_generate`, or changes what it returns, parts completions from their record.
        """
        call = self._calls.get(current_thread())
        if call is None:
            raise RuntimeError(
                "The model's `generate` did not use the decoder, so there is no record of its completions; let it "
                "pass `custom_generate` on to transformers' own."
            )
        decoded = call.completion_ids.tolist()
        starts = [row[: len(ids)] for row, ids in zip(decoded, completion_ids, strict=False)]
        if len(decoded) != len(completion_ids) or starts != [list(ids) for ids in completion_ids]:
            raise RuntimeError(
                "The model's `generate` returned other completions than the decoder gave it, so their record does not "
                "fit; let it return what transformers' own does."
            )
        return call.rollout

    @property
    def temperature(self) -> float | None:
        """What this thread's last call divided logits by; None if something else, such as top-p, shaped them too."""
        call = self._calls.get(current_thread())
        return None if call is None else call.temperature

    @torch.no_grad()
    def __call__(
        self,
        model: PreTrainedModel,
        input_ids: Int[Tensor, "B P"],
        logits_processor: LogitsProcessorList,
        stopping_criteria: StoppingCriteriaList,
        generation_config: GenerationConfig,
        token_streamer: BaseStreamer | None = None,
        history: Rollout | None = None,
        **model_kwargs: Any,
    ) -> Int[Tensor, "B S"]:
        """Decode left-padded prompts, return them with their completions padded on the right, and keep the rollout.

        The arguments are those that `generate` passes to a decoding loop, and two more. `token_streamer` receives the
        visible tokens of each step: `generate` does not pass `streamer` on. `history` is the record of the prompts'
        last columns, in which earlier turns of a conversation are read again as they were drawn.

        Raises:
            ValueError: Another way of decoding is asked for, a prompt is empty, nothing bounds the length, or
                `history` comes with a cache or with chunks, or has not the prompts' rows.
            RuntimeError: Something has put the model into training mode meanwhile, or it embeds tokens elsewhere.
        """
        check_generation_config(generation_config)
        check_prompts(input_ids, model_kwargs.get("attention_mask"))
        if stopping_criteria.max_length is None:
            raise ValueError("Set `max_new_tokens`: a rollout needs a maximum length.")
        if history is not None:
            _check_history(history, input_ids, generation_config, model_kwargs.get("past_key_values"))
        loop = DecodingLoop(
            StepRules(self.strategy, self.phases, self.mixture_score, self.draws_probes),
            forward_pass=ForwardPass(model, model_kwargs, generation_config),
            input_ids=input_ids,
            max_new_tokens=stopping_criteria.max_length - input_ids.size(1),
            logits_processor=logits_processor,
            stopping_criteria=stopping_criteria,
            history=history,
        )
        # Packing the weights takes time, which a single row or a short completion does not repay.
        packed = onednn_linears(model, packed=len(input_ids) > 1 and loop.max_new_tokens >= 64)
        with evaluating(model), packed, override_embeddings(model, blend_of(self.strategy)) as override:
            while loop.is_running():
                loop.advance(loop.forward(override))
                # The copy makes the host wait for the device, so it is made for a streamer only.
                if token_streamer is not None:
                    token_streamer.put(loop.completion_ids[:, loop.length - 1].cpu())
        if token_streamer is not None:
            token_streamer.end()
        completion_ids, rollout = loop.result()
        self._calls[current_thread()] = _Call(completion_ids, rollout, temperature_of(logits_processor))
        return torch.cat([input_ids, completion_ids], dim=1)


def _check_history(history: Rollout, input_ids: Int[Tensor, "B P"], config: GenerationConfig, cache: Any) -> None:
    """Raise a ValueError where the record of earlier turns could not be read as it was drawn."""
    rows, columns = history.mixture_mask.shape
    if rows != len(input_ids) or columns > input_ids.size(1):
        raise ValueError(
            f"`history` records {rows} rows of {columns} tokens, the prompts are {len(input_ids)} of at most "
            f"{input_ids.size(1)}; give a row a prompt, right-aligned with it, and `num_return_sequences=1`."
        )
    if config.prefill_chunk_size is not None or getattr(cache, "_is_user_defined", False):
        raise ValueError(
            "`history` is read again with the whole prompt: leave out `prefill_chunk_size` and `past_key_values`."
        )


def check_prompts(input_ids: Int[Tensor, "B P"], attention_mask: Tensor | None) -> None:
    """Raise a ValueError if a prompt has no token: there is none to predict the first one of the completion from."""
    mask = torch.ones_like(input_ids) if attention_mask is None or attention_mask.dim() != 2 else attention_mask
    if empty := (~mask.bool().any(dim=1)).nonzero().flatten().tolist():
        raise ValueError(f"The prompt of row {empty[0]} is empty; leave such rows out, or give them some text.")
