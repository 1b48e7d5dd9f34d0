"""Traces as tensors, so that a model can compute the log-probabilities of the same draws again."""

from typing import Any, Literal, NamedTuple

import pyarrow as pa
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mot_trl.modeling.rollout import Rollout


class Replay(NamedTuple):
    """Traced completions as a batch, prompts padded on the left, completions on the right.

    The masks are 1 where ids are not padding. `rollout` has the draws and their log-probabilities at generation time.
    """

    prompt_ids: Int[Tensor, "B P"]
    prompt_mask: Int[Tensor, "B P"]
    completion_ids: Int[Tensor, "B C"]
    completion_mask: Int[Tensor, "B C"]
    rollout: Rollout
    advantages: Float[Tensor, " B"]


def to_replay(traces: pa.Table, *, pad_token_id: int = 0) -> Replay:
    """The tensors of traced completions. `rollout.closed_by` only says whether the thinking was closed: 0 or -1.

    Raises:
        ValueError: There is no row.
    """
    rows: list[dict[str, Any]] = traces.to_pylist()
    if not rows:
        raise ValueError("The table has no row; filter less.")
    prompt_ids, prompt_mask = _pad([row["prompt_ids"] for row in rows], pad_token_id, side="left")
    completion_ids, completion_mask = _pad([row["completion_ids"] for row in rows], pad_token_id, side="right")
    num_candidates = max((len(ids) for row in rows for ids in row["candidate_ids"]), default=1) or 1
    has_turns = any(row["turns"] is not None for row in rows)
    rollout = Rollout.empty(*completion_ids.shape, num_candidates=num_candidates, device="cpu", turns=has_turns)
    for index, row in enumerate(rows):
        end = len(row["completion_ids"])
        for position, (ids, weights) in enumerate(zip(row["candidate_ids"], row["log_weights"], strict=True)):
            if ids:
                rollout.candidate_ids[index, position, : len(ids)] = torch.tensor(ids, dtype=torch.int32)
                rollout.log_weights[index, position, : len(ids)] = torch.tensor(weights)
        rollout.lengths[index] = end
        rollout.thinking_mask[index, :end] = torch.tensor(row["thinking"])
        rollout.mixture_mask[index, :end] = torch.tensor(row["mixed"])
        rollout.forced_mask[index, :end] = torch.tensor(row["forced"])
        if rollout.turns is not None:
            rollout.turns[index, :end] = torch.tensor(row["turns"] or [0] * end)
        rollout.logps[index, :end] = torch.tensor(row["logps"])
        # A trace names the rule and not its index among the run's rules, which it does not hold.
        rollout.closed_by[index] = -1 if row["closed_by"] is None else 0
    advantages = torch.tensor([row["advantage"] for row in rows])
    return Replay(prompt_ids, prompt_mask, completion_ids, completion_mask, rollout, advantages)


def _pad(ids: list[list[int]], pad_token_id: int, *, side: Literal["left", "right"]) -> tuple[Tensor, Tensor]:
    """Ids as one tensor, and a mask that is 1 where they are not padding."""
    rows = [torch.tensor(row, dtype=torch.long) for row in ids]
    padded = pad_sequence(rows, batch_first=True, padding_value=pad_token_id, padding_side=side)
    return padded, pad_sequence([torch.ones_like(row) for row in rows], batch_first=True, padding_side=side)
