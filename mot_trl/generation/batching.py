"""Batches of prompts of a similar length, and their completions back in the prompts' order."""

from collections.abc import Sequence
from dataclasses import fields

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn import functional as F

from mot_trl.modeling.rollout import Rollout


def by_length(lengths: Sequence[int], batch_size: int | None) -> list[list[int]]:
    """Indices in batches of at most `batch_size` (None: all in one, in their order), longest first.

    Equal lengths keep their order, so that the batches depend on nothing but the arguments. The longest come first so
    that what does not fit into memory fails at once.
    """
    if batch_size is None or batch_size >= len(lengths):
        return [list(range(len(lengths)))]
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def gather_rows(
    batches: Sequence[tuple[list[int], Int[Tensor, "B C"], Rollout]], *, pad_token_id: int
) -> tuple[Int[Tensor, "N C"], Rollout]:
    """Completions and records of several batches as one, each row at the place that its batch names."""
    length = max(completion_ids.size(1) for _, completion_ids, _ in batches)
    num_candidates = max(rollout.num_candidates for _, _, rollout in batches)
    order = torch.tensor([row for rows, _, _ in batches for row in rows]).argsort()
    padded = [F.pad(ids, (0, length - ids.size(1)), value=pad_token_id) for _, ids, _ in batches]
    rollouts = [_widen(rollout.resize(length), num_candidates) for _, _, rollout in batches]
    names = [each.name for each in fields(Rollout)]
    joined = {name: torch.cat([getattr(rollout, name) for rollout in rollouts]) for name in names}
    order = order.to(padded[0].device)
    return torch.cat(padded)[order], Rollout(**{name: tensor[order] for name, tensor in joined.items()})


def _widen(rollout: Rollout, num_candidates: int) -> Rollout:
    """The record with room for `num_candidates` candidates; those added are unused."""
    rows, length = rollout.logps.shape
    if rollout.num_candidates == num_candidates:
        return rollout
    wide = Rollout.empty(rows, length, num_candidates=num_candidates, device=rollout.logps.device)
    wide.candidate_ids[..., : rollout.num_candidates] = rollout.candidate_ids
    wide.log_weights[..., : rollout.num_candidates] = rollout.log_weights
    kept = {name: getattr(rollout, name) for name in (each.name for each in fields(Rollout))}
    return Rollout(**{**kept, "candidate_ids": wide.candidate_ids, "log_weights": wide.log_weights})
