"""A trace as the tensors it was made of, so that a model can be asked for its log-probabilities again."""

from typing import Any, NamedTuple

import pyarrow as pa
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mot_trl.modeling.rollout import Rollout


class Replay(NamedTuple):
    """Traced completions as a batch, prompts padded on the left, completions on the right.

    Attributes:
        prompt_ids: Prompts.
        prompt_mask: 1 where they are not padding.
        completion_ids: Visible tokens.
        completion_mask: 1 where they are not padding.
        rollout: What was drawn, with the log-probabilities (nats) of the draws at generation time.
        advantages: As in the trace.
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
    prompt_length = max(len(row["prompt_ids"]) for row in rows)
    length = max(len(row["completion_ids"]) for row in rows)
    num_candidates = max((len(ids) for row in rows for ids in row["candidate_ids"]), default=1) or 1
    prompt_ids = torch.full((len(rows), prompt_length), pad_token_id)
    completion_ids = torch.full((len(rows), length), pad_token_id)
    prompt_mask, completion_mask = torch.zeros_like(prompt_ids), torch.zeros_like(completion_ids)
    rollout = Rollout.empty(len(rows), length, num_candidates=num_candidates, device="cpu")
    for index, row in enumerate(rows):
        begin, end = prompt_length - len(row["prompt_ids"]), len(row["completion_ids"])
        prompt_ids[index, begin:] = torch.tensor(row["prompt_ids"])
        prompt_mask[index, begin:] = 1
        completion_ids[index, :end] = torch.tensor(row["completion_ids"])
        completion_mask[index, :end] = 1
        _fill(rollout, index, row)
    advantages = torch.tensor([row["advantage"] for row in rows])
    return Replay(prompt_ids, prompt_mask, completion_ids, completion_mask, rollout, advantages)


def _fill(rollout: Rollout, index: int, row: dict[str, Any]) -> None:
    end = len(row["completion_ids"])
    for position, (ids, weights) in enumerate(zip(row["candidate_ids"], row["log_weights"], strict=True)):
        if ids:
            rollout.candidate_ids[index, position, : len(ids)] = torch.tensor(ids, dtype=torch.int32)
            rollout.log_weights[index, position, : len(ids)] = torch.tensor(weights)
    rollout.thinking_mask[index, :end] = torch.tensor(row["thinking"])
    rollout.mixture_mask[index, :end] = torch.tensor(row["mixed"])
    rollout.forced_mask[index, :end] = torch.tensor(row["forced"])
    rollout.logps[index, :end] = torch.tensor(row["logps"])
    rollout.closed_by[index] = -1 if row["closed_by"] is None else 0
