"""Traced completions, and the rows of a trace file made from them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby, pairwise
from typing import Any

import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from mot_trl.generation.stop_text import token_texts
from mot_trl.modeling.rollout import Rollout
from mot_trl.traces.schema import SCHEMA, VERSION
from mot_trl.traces.token_text import token_text, visible_texts


@dataclass(frozen=True)
class TracedCompletions:
    """The traced completions of one generation, on the CPU.

    Attributes:
        step: Optimizer step that the completions train, or after which they were evaluated.
        split: `train` or `eval`.
        prompt_ids: One list per completion, without padding.
        completion_ids: Likewise.
        rollout: Candidates, weights and masks of their draws.
        rewards: One value per completion, by reward function; None where it could not judge.
        reward: Weighted sum of the rewards.
        advantages: As TRL computes them.
        group_size: Completions per prompt; those of one prompt follow one another.
        numbers: Number of each completion within the trace. Other processes hold the missing numbers.
    """

    step: int
    split: str
    prompt_ids: list[list[int]]
    completion_ids: list[list[int]]
    rollout: Rollout
    rewards: Mapping[str, Sequence[float | None]]
    reward: Sequence[float | None]
    advantages: Sequence[float]
    group_size: int
    numbers: Sequence[int]


@dataclass(frozen=True)
class Phase:
    """From `position` on, the completion is in `phase`; `cause` says why."""

    position: int
    phase: str
    cause: str


def token_phases(thinking: Sequence[bool], forced: Sequence[bool]) -> Iterator[str]:
    """The phase of each token: `waiting`, `thinking`, `forced` or `answering`."""
    has_thought = False
    for is_thinking, is_forced in zip(thinking, forced, strict=True):
        has_thought |= is_thinking
        # An ordinary token is `waiting` for the opening tag if no thinking precedes it, and else part of the answer.
        yield "thinking" if is_thinking else "forced" if is_forced else "answering" if has_thought else "waiting"


def phase_changes(thinking: Sequence[bool], forced: Sequence[bool], *, cause: str | None) -> list[Phase]:
    """Where a completion changes its phase; `cause` is what ended the thinking."""
    changes = []
    for name, tokens in groupby(enumerate(token_phases(thinking, forced)), key=lambda token: token[1]):
        position = next(tokens)[0]
        # Thinking that does not begin at once was opened by its tag.
        opened_by = "start_text" if name == "thinking" and position else "start"
        changes.append(Phase(position, name, (cause or "end") if name in ("forced", "answering") else opened_by))
    return changes


def to_table(
    completions: TracedCompletions,
    tokenizer: PreTrainedTokenizerBase,
    *,
    entropies: Mapping[int, Float[Tensor, " C"]],
    causes: Sequence[str],
    end_ids: frozenset[int],
) -> pa.Table:
    """Rows in the trace's schema, one per completion.

    Args:
        completions: What to write.
        tokenizer: Decodes the tokens.
        entropies: By a completion's number, the entropy (nats) of the distribution that each token was drawn from;
            null in the row where it is missing.
        causes: Names of the rules that end thinking, in the order of `Phases.rules`.
        end_ids: Token ids of which one ends each completion that was not cut short.
    """
    vocabulary = token_texts(tokenizer)
    rows: list[dict[str, Any]] = []
    for row, (number, prompt_ids, completion_ids) in enumerate(
        zip(completions.numbers, completions.prompt_ids, completions.completion_ids, strict=True)
    ):
        rollout, length = completions.rollout.rows(row, row + 1), len(completion_ids)
        thinking, mixed, forced, logps = (
            values[0, :length].tolist()
            for values in (rollout.thinking_mask, rollout.mixture_mask, rollout.forced_mask, rollout.logps)
        )
        closed_by = int(rollout.closed_by)
        cause = causes[closed_by] if closed_by >= 0 else None
        candidate_ids, log_weights = drawn_candidates(rollout, length)
        tokens = visible_texts(tokenizer, completion_ids)
        known = entropies[number][:length].tolist() if number in entropies else []
        known = [None if math.isnan(value) else value for value in known]
        rows.append(
            {
                "version": VERSION,
                "step": completions.step,
                "split": completions.split,
                "group": number // completions.group_size,
                "sample": number,
                "prompt": tokenizer.decode(prompt_ids, clean_up_tokenization_spaces=False),
                "prompt_ids": prompt_ids,
                "completion": "".join(tokens),
                "completion_ids": completion_ids,
                "tokens": tokens,
                "candidate_ids": candidate_ids,
                "candidate_tokens": [[token_text(token_id, vocabulary) for token_id in ids] for ids in candidate_ids],
                "log_weights": log_weights,
                "thinking": thinking,
                "mixed": mixed,
                "forced": forced,
                "logps": logps,
                "entropies": known + [None] * (length - len(known)),
                "phases": [asdict(change) for change in phase_changes(thinking, forced, cause=cause)],
                "closed_by": cause,
                "truncated": not completion_ids or completion_ids[-1] not in end_ids,
                "rewards": [{"name": name, "value": values[row]} for name, values in completions.rewards.items()],
                "reward": completions.reward[row],
                "advantage": completions.advantages[row],
            }
        )
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def drawn_candidates(rollout: Rollout, length: int) -> tuple[list[list[int]], list[list[float]]]:
    """Candidate ids and log-weights at each position of the only row; empty where the strategy drew nothing."""
    log_weights = rollout.log_weights[0, :length]
    # Positions outside the thinking hold a one-hot filler, so the weights alone do not tell what was drawn.
    used = (log_weights > -torch.inf) & rollout.thinking_mask[0, :length].unsqueeze(-1)
    ids, weights = rollout.candidate_ids[0, :length][used].tolist(), log_weights[used].tolist()
    # Converted to lists in one go and cut afterwards, since a tensor operation per position would be slow.
    spans = list(pairwise([0, *used.sum(dim=-1).cumsum(0).tolist()]))
    return [ids[start:end] for start, end in spans], [weights[start:end] for start, end in spans]
