"""One completion as a row of a trace file."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from mot_trl.modeling.rollout import Rollout
from mot_trl.traces.phase_changes import phase_changes
from mot_trl.traces.token_text import token_text, visible_texts


def completion_columns(
    batch: Mapping[str, Tensor],
    row: int,
    *,
    tokenizer: PreTrainedTokenizerBase,
    causes: Sequence[str],
    end_ids: Collection[int],
) -> dict[str, Any]:
    """The columns that a row of a generated and scored batch gives; `entropies` is null at each token.

    Args:
        batch: What TRL shuffles and splits, the rollout's tensors included.
        causes: Names of the rules that end thinking, in the order of `Phases.rules`.
        end_ids: Tokens that end a completion; without one of them it counts as truncated.
    """
    rollout = Rollout.from_batch(batch).rows(row, row + 1)
    # TRL's mask of the completion would not do: it is 0 where the loss leaves the whole completion out.
    length = int(rollout.lengths)
    rollout, completion_ids = rollout.resize(length), batch["completion_ids"][row, :length].tolist()
    prompt_ids = batch["prompt_ids"][row][batch["prompt_mask"][row].bool()].tolist()
    thinking, forced = rollout.thinking_mask[0].tolist(), rollout.forced_mask[0].tolist()
    turns = None if rollout.turns is None else rollout.turns[0].tolist()
    closed_by = int(rollout.closed_by)
    cause = causes[closed_by] if closed_by >= 0 else None
    # Positions outside the thinking hold a one-hot filler, so the weights alone do not show what was drawn.
    used = (rollout.log_weights > -torch.inf) & rollout.thinking_mask.unsqueeze(-1)
    counts = used[0].sum(dim=-1).tolist()
    # One copy to the CPU, cut there into a list per position.
    candidate_ids, log_weights = (
        [drawn.tolist() for drawn in values[used].cpu().split(counts)]
        for values in (rollout.candidate_ids, rollout.log_weights)
    )
    tokens = visible_texts(tokenizer, completion_ids)
    return {
        "prompt": tokenizer.decode(prompt_ids, clean_up_tokenization_spaces=False),
        "prompt_ids": prompt_ids,
        # Not decoded as a whole, so that it is the tokens' texts joined, to the letter.
        "completion": "".join(tokens),
        "completion_ids": completion_ids,
        "tokens": tokens,
        "candidate_ids": candidate_ids,
        "candidate_tokens": [[token_text(tokenizer, token_id) for token_id in ids] for ids in candidate_ids],
        "log_weights": log_weights,
        "thinking": thinking,
        "mixed": rollout.mixture_mask[0].tolist(),
        "forced": forced,
        "turns": turns,
        "logps": rollout.logps[0].tolist(),
        "entropies": [None] * len(completion_ids),
        "phases": phase_changes(thinking, forced, turns, cause=cause),
        "closed_by": cause,
        "truncated": not completion_ids or completion_ids[-1] not in end_ids,
        "advantage": batch["advantages"][row].item(),
    }


def reward_columns(rewards: Mapping[str, float], weights: Sequence[float]) -> dict[str, Any]:
    """The rewards by function, null where it could not judge (NaN), and their sum as TRL makes it: over the others."""
    terms = [value * weight for value, weight in zip(rewards.values(), weights, strict=True) if not math.isnan(value)]
    entries = [{"name": name, "value": None if math.isnan(value) else value} for name, value in rewards.items()]
    return {"rewards": entries, "reward": sum(terms) if terms else None}
