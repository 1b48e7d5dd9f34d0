"""Metrics of a batch of rollouts, as sums that add up over processes."""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mot_trl.modeling.rollout import Rollout


def rollout_totals(rollout: Rollout, completion_ids: Int[Tensor, "B C"]) -> dict[str, Tensor]:
    """Sum over this process's completions, tokens and draws."""
    log_weights = rollout.log_weights[rollout.thinking_mask]
    weights = log_weights.exp()
    mixtures = rollout.mixtures(completion_ids)
    visible = weights.masked_fill(mixtures.candidate_ids != mixtures.visible_ids.unsqueeze(-1), 0.0)
    # An unused candidate has log-weight -inf, and 0 * -inf would be NaN.
    entropies = -(weights * log_weights.masked_fill(weights == 0, 0.0)).sum(dim=-1)
    return {
        "completions": (~rollout.non_finite).sum(),
        "tokens": rollout.lengths.sum(),
        "mixtures": rollout.mixture_mask.sum(),
        "draws": rollout.thinking_mask.sum(),
        "closed": (rollout.closed_by >= 0).sum(),
        "effective_candidates": (1 / weights.square().sum(dim=-1)).sum(),
        "entropy": entropies.sum(),
        "visible_weight": visible.sum(),
        "non_finite": rollout.non_finite.sum(),
    }


def summarize(totals: Mapping[str, Tensor], *, reduce: Callable[[Tensor], Tensor]) -> dict[str, float]:
    """Compute the metrics of TRL's log; `reduce` adds a tensor up over processes.

    They describe what was generated, completions included that TRL leaves out of the loss because they were cut short.
    `mixture/share` is a share of completion tokens, `mixture/closed_ratio` of completions. Lengths are in tokens,
    entropies (of the weights) in nats. `mixture/effective_candidates` is the mean of 1 / sum w^2.
    `mixture/broken_rows` counts completions with NaN or infinite logits; no other metric includes them.
    """
    # One tensor takes one reduction. Means are taken of the sums, since processes differ in how many tokens they drew.
    sums = reduce(torch.stack([each.float() for each in totals.values()])).tolist()
    total = dict(zip(totals, sums, strict=True))
    completions, draws = max(total["completions"], 1.0), max(total["draws"], 1.0)
    return {
        "mixture/share": total["mixtures"] / max(total["tokens"], 1.0),
        "mixture/closed_ratio": total["closed"] / completions,
        "mixture/mean_thinking_length": total["draws"] / completions,
        "mixture/effective_candidates": total["effective_candidates"] / draws,
        "mixture/entropy": total["entropy"] / draws,
        "mixture/visible_weight": total["visible_weight"] / draws,
        "mixture/broken_rows": total["non_finite"],
    }


def log_prob_gap(
    rollout: Rollout, replayed_logps: Float[Tensor, "B C"], completion_mask: Int[Tensor, "B C"]
) -> Float[Tensor, " 2"]:
    """Sum |log-prob at replay - log-prob at generation| (nats) over the drawn tokens; the sum and the token count."""
    mask = completion_mask.bool() & ~rollout.forced_mask
    gaps = (replayed_logps - rollout.logps).abs()[mask]
    return torch.stack([gaps.sum(), mask.sum().to(gaps)])
