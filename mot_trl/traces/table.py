"""Completions and their rollout, as the rows of a trace."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from mot_trl.generation.stop_text import token_texts
from mot_trl.modeling.rollout import Rollout
from mot_trl.traces.schema import SCHEMA, VERSION
from mot_trl.traces.token_text import token_text, visible_pieces


@dataclass
class Sampled:
    """The completions of one step that are traced, on the CPU.

    Attributes:
        step: Optimizer step that the completions train, or after which they were evaluated.
        split: `train` or `eval`.
        prompt_ids: One list a completion, without padding.
        completion_ids: Likewise.
        rollout: Their record.
        entropies: Entropy (nats) of the distribution each token was drawn from; NaN where it is not known yet.
        rewards: One number a completion and reward function; None where it could not judge.
        reward: Their weighted sum.
        advantages: As TRL computes them.
        group_size: Completions of one prompt, which follow one another.
        numbers: Number of each completion in the trace, in which other processes may have completions too.
    """

    step: int
    split: str
    prompt_ids: list[list[int]]
    completion_ids: list[list[int]]
    rollout: Rollout
    entropies: Float[Tensor, "N C"]
    rewards: Mapping[str, Sequence[float | None]]
    reward: Sequence[float | None]
    advantages: Sequence[float]
    group_size: int
    numbers: Sequence[int]


@dataclass(frozen=True)
class Phase:
    """From `position` on the completion is in `phase`, for the reason `cause`."""

    position: int
    phase: str
    cause: str


def phases_of(thinking: Sequence[bool], forced: Sequence[bool], *, cause: str | None) -> list[Phase]:
    """The phases of a completion: waiting, thinking, forced, answering. `cause` is what closed the thinking."""
    changes: list[Phase] = []
    seen_thinking = False
    for position, (thinks, is_forced) in enumerate(zip(thinking, forced, strict=True)):
        seen_thinking |= thinks
        phase = "thinking" if thinks else "forced" if is_forced else "answering" if seen_thinking else "waiting"
        if changes and changes[-1].phase == phase:
            continue
        opened = "start_text" if phase == "thinking" and changes else "start"
        changes.append(Phase(position, phase, cause or "end" if phase in ("forced", "answering") else opened))
    return changes


def to_table(
    sampled: Sampled,
    tokenizer: PreTrainedTokenizerBase,
    *,
    causes: Sequence[str],
    end_ids: frozenset[int],
) -> pa.Table:
    """Rows of the trace's schema.

    Args:
        sampled: What was sampled.
        tokenizer: Gives the tokens' texts.
        causes: Names of the rules that end thinking, in the order of `Phases.rules`.
        end_ids: Tokens one of which ends every completion that is not cut short.
    """
    texts = token_texts(tokenizer)
    rows: list[dict[str, Any]] = []
    closed_by = sampled.rollout.closed_by.tolist()
    for row, completion_ids in enumerate(sampled.completion_ids):
        rollout, length = sampled.rollout.rows(row, row + 1), len(completion_ids)
        thinking, forced = rollout.thinking_mask[0, :length], rollout.forced_mask[0, :length]
        cause = causes[closed_by[row]] if closed_by[row] >= 0 else None
        candidate_ids, log_weights = used_slots(rollout, length)
        tokens = visible_pieces(tokenizer, completion_ids)
        rows.append(
            {
                "version": VERSION,
                "step": sampled.step,
                "split": sampled.split,
                "group": sampled.numbers[row] // sampled.group_size,
                "sample": sampled.numbers[row],
                "prompt": tokenizer.decode(sampled.prompt_ids[row], clean_up_tokenization_spaces=False),
                "prompt_ids": sampled.prompt_ids[row],
                "completion": "".join(tokens),
                "completion_ids": completion_ids,
                "tokens": tokens,
                "candidate_ids": candidate_ids,
                "candidate_tokens": [[token_text(token_id, texts) for token_id in ids] for ids in candidate_ids],
                "log_weights": log_weights,
                "thinking": thinking.tolist(),
                "mixed": rollout.mixture_mask[0, :length].tolist(),
                "forced": forced.tolist(),
                "logps": rollout.logps[0, :length].tolist(),
                "entropies": [None if value != value else value for value in sampled.entropies[row, :length].tolist()],
                "phases": [vars(phase) for phase in phases_of(thinking.tolist(), forced.tolist(), cause=cause)],
                "closed_by": cause,
                "truncated": not completion_ids or completion_ids[-1] not in end_ids,
                "rewards": [{"name": name, "value": values[row]} for name, values in sampled.rewards.items()],
                "reward": sampled.reward[row],
                "advantage": sampled.advantages[row],
            }
        )
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def used_slots(rollout: Rollout, length: int) -> tuple[list[list[int]], list[list[float]]]:
    """Candidates and log-weights of one completion's draws; empty where the strategy drew nothing."""
    log_weights = rollout.log_weights[0, :length]
    used = (log_weights > -torch.inf) & rollout.thinking_mask[0, :length].unsqueeze(-1)
    counts: Int[Tensor, " C"] = used.sum(dim=-1)
    ids = rollout.candidate_ids[0, :length][used].tolist()
    weights = log_weights[used].tolist()
    ends = counts.cumsum(0).tolist()
    starts = [0, *ends[:-1]]
    spans = list(zip(starts, ends, strict=True)) if ends else []
    return [ids[start:end] for start, end in spans], [weights[start:end] for start, end in spans]
