"""Replay the recorded mixtures of a batch inside TRL's log-probability function."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mot_trl.generation.decoder import MixtureDecoder, check_prompts
from mot_trl.modeling.conversation import Conversations
from mot_trl.modeling.patching import Calls, MethodPatch
from mot_trl.modeling.rollout import Rollout, UncastRollout
from mot_trl.strategies import Strategy
from mot_trl.strategies.surrogate import LogProbType, surrogate


@dataclass
class RolloutScope:
    """What the overrides share for the length of one call of TRL's.

    TRL's methods hand one another batches with the keys that TRL knows, so everything else travels in a scope, opened
    around the call. Outside of a call, and without mixtures, the scope is empty.

    Attributes:
        rollout: Record of the completions at hand; None before they are generated.
        batch: What the loss is computed of; empty elsewhere.
        logps: Log-probabilities (nats) of the last replay, `(B, C)`.
        probe_logps: Those of the probes of each replay so far, the last with its gradient; none without probes.
        entropies: Entropies (nats) of the last replay, `(B, C)`.
        rewards: Rewards of all processes' completions, one column per function, NaN where one is not judged.
        conversations: Completions so far, while tools are called between their turns; else None.
    """

    rollout: Rollout | None = None
    batch: dict[str, Any] = field(default_factory=dict)
    logps: Tensor | None = None
    probe_logps: list[Tensor] = field(default_factory=list)
    entropies: Tensor | None = None
    rewards: Tensor | None = None
    conversations: Conversations | None = None

    def keep(self, rollout: Rollout, completion_ids: list[list[int]], rows: Sequence[int] | None = None) -> None:
        """Keep the record of what TRL keeps of the completions, which it cuts at its own list of end tokens.

        In a loop of tool calls, `rows` are those that take a turn.
        """
        if self.conversations is not None:
            self.conversations.add_turn(completion_ids, rollout, rows)
            return
        lengths = torch.tensor([len(ids) for ids in completion_ids], device=rollout.logps.device)
        self.rollout = rollout.end_rows(lengths)


class ReplayModel:
    """Stand for a model in TRL's log-probability function, and replay the mixtures of each chunk of rows.

    TRL cuts a batch into chunks of rows and calls the model once per chunk, in order. Each call gets the same rows of
    the record, so that the input embeddings are those of generation. In the log-probs that come back, those of the
    visible tokens that a strategy drew are replaced by the log-probability of the whole draw; `probe_logps` collects
    those of the probes, chunk by chunk. `rollout` records the whole batch; `model` needs a candidate head.
    """

    def __init__(
        self, model: Callable[..., Any], rollout: Rollout, strategy: Strategy, mixture_score: LogProbType
    ) -> None:
        self.model, self.rollout, self.strategy, self.mixture_score = model, rollout, strategy, mixture_score
        self._next_row = 0
        self.probe_logps: list[Tensor] = []

    def __call__(self, **inputs: Any) -> Any:
        """Compute the model's outputs for the next chunk of rows."""
        start, self._next_row = self._next_row, self._next_row + inputs["input_ids"].size(0)
        rollout = self.rollout.rows(start, self._next_row)
        length = rollout.thinking_mask.size(1)
        # TRL masks whole completions that were cut short (`mask_truncated_completions`): they are not scored.
        rollout = replace(rollout, thinking_mask=rollout.thinking_mask & inputs["attention_mask"][:, -length:].bool())
        outputs = self.model(**inputs, rollout=UncastRollout(rollout))
        mixtures = rollout.mixtures(inputs["input_ids"][:, -length:])
        before, logps = outputs.log_probs.split([outputs.log_probs.size(1) - length, length], dim=1)
        candidate_logps = outputs.candidate_logps
        if candidate_logps is None:  # each draw has one candidate: the visible token
            candidate_logps = logps[rollout.thinking_mask].unsqueeze(-1)
        if rollout.probe_ids is not None:
            candidate_logps, probe_logps = candidate_logps.split([rollout.num_candidates, 1], dim=-1)
            self.probe_logps.append(logps.masked_scatter(rollout.thinking_mask, probe_logps.to(logps.dtype)))
        scores = surrogate(self.strategy, candidate_logps, mixtures, log_prob_type=self.mixture_score)
        logps = logps.masked_scatter(rollout.thinking_mask, scores.to(logps.dtype))
        outputs.log_probs = torch.cat([before, logps], dim=1)
        return outputs


_DECODERS: Calls[tuple[Any, MixtureDecoder, Rollout | None]] = Calls("models and their decoders")


@contextmanager
def decoding_with(model: Any, decoder: MixtureDecoder, history: Rollout | None = None) -> Generator[None]:
    """Let this thread's calls of the model's `generate` use the decoder, where they do not name another.

    `history` records what was drawn in the last columns of their prompts.
    """
    with _Generate.on(model), _DECODERS.enter((model, decoder, history)):
        yield


class _Generate(MethodPatch):
    """The `generate` of a model, which decodes with the caller's decoder."""

    name = "generate"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        named = next((entry for entry in _DECODERS.innermost() if entry[0] is self.module), None)
        if named is None or "custom_generate" in kwargs:
            return self.own(*args, **kwargs)
        _, decoder, history = named
        # transformers fails on prompts of no length before it calls the decoder.
        check_prompts(kwargs["input_ids"], kwargs.get("attention_mask"))
        # A bound method, not the decoder: FSDP's mixed precision copies dataclasses that it finds among the arguments,
        # and the record would end up in the copy. For the same reason the history comes with it.
        return self.own(*args, custom_generate=partial(decoder.__call__, history=history), **kwargs)
