"""One completion as a row of a trace file."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from mot_trl.modeling.rollout import Rollout
from mot_trl.traces.phase_changes import phase_changes
from mot_trl.traces.token_text import token_text, visible_texts


def completion_columns(
    batch: Mapping[str, Tensor], row: int, *, tokenizer: PreTrainedTokenizerBase, causes: Sequence[str]
) -> dict[str, Any]:
    """The columns that a row of a generated and scored batch gives; `entropies` is null at each token.

    `causes` names the rules that end thinking, in the order of `Phases.rules`.
    """
    prompt_ids, completion_ids = (_unpadded(batch, name, row) for name in ("prompt", "completion"))
    rollout = Rollout.from_batch(batch).rows(row, row + 1).resize(len(completion_ids))
    thinking, forced = rollout.thinking_mask[0].tolist(), rollout.forced_mask[0].tolist()
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
        "logps": rollout.logps[0].tolist(),
        "entropies": [None] * len(completion_ids),
        "phases": phase_changes(thinking, forced, cause=cause),
        "closed_by": cause,
        # Models such as Qwen2.5 also stop at the padding token.
        "truncated": completion_ids[-1:] not in ([tokenizer.eos_token_id], [tokenizer.pad_token_id]),
        "advantage": batch["advantages"][row].item(),
    }


def reward_columns(rewards: Mapping[str, float], weights: Sequence[float]) -> dict[str, Any]:
    """The rewards by function, null where it could not judge (NaN), and their sum as TRL makes it: over the others."""
    terms = [value * weight for value, weight in zip(rewards.values(), weights, strict=True) if not math.isnan(value)]
    entries = [{"name": name, "value": None if math.isnan(value) else value} for name, value in rewards.items()]
    return {"rewards": entries, "reward": sum(terms) if terms else None}


def _unpadded(batch: Mapping[str, Tensor], name: str, row: int) -> list[int]:
    ids, mask = batch[f"{name}_ids"][row], batch[f"{name}_mask"][row].bool()
    # With `mask_truncated_completions` TRL masks all of a completion that was cut short; it fills the row.
    return ids[mask].tolist() if mask.any() else ids.tolist()
