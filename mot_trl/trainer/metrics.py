"""Metrics of a batch of rollouts, as sums that add up over processes."""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mot_trl.modeling.rollout import Rollout

COUNTED_TURNS = 8
"""Turns of a conversation that have a metric of their own; those after them are counted with the last."""


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
        "tokens": (rollout.lengths if rollout.turns is None else (rollout.turns >= 0).sum(dim=1)).sum(),
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
    A completion with tools is all of its turns: its thinking is theirs together, and closed if that of its last is.
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


def summarize_turns(rollout: Rollout, *, reduce: Callable[[Tensor], Tensor]) -> dict[str, float]:
    """Compute the metrics of conversations; none for completions of a single turn.

    `mixture/turns` is the mean number of turns, `mixture/thinking_length/turn_1` that of thoughts (tokens) in first
    turns, and so on for each of `COUNTED_TURNS`.
    """
    if rollout.turns is None:
        return {}
    turns, last = rollout.turns.clamp(max=COUNTED_TURNS - 1), rollout.turns.amax(dim=1)
    places = range(COUNTED_TURNS)
    draws = [(rollout.thinking_mask & (turns == place)).sum() for place in places]
    counts = [(last >= place).sum() for place in places]
    # The place that stands for all later turns holds several of one conversation.
    counts[-1] = counts[-1] + (last - places[-1]).clamp(min=0).sum()
    sums = reduce(torch.stack([*draws, *counts]).float()).view(2, -1).tolist()
    lengths = {
        f"mixture/thinking_length/turn_{turn}": drawn / count
        for turn, (drawn, count) in enumerate(zip(*sums, strict=True), start=1)
        if count
    }
    return {"mixture/turns": sum(sums[1]) / max(sums[1][0], 1.0), **lengths}


def log_prob_gap(
    rollout: Rollout, replayed_logps: Float[Tensor, "B C"], drawn: Bool[Tensor, "B C"]
) -> Float[Tensor, " 2"]:
    """Sum |log-prob at replay - log-prob at generation| (nats) over the drawn tokens; the sum and the token count."""
    # A `rollout_func` need not know log-probs at generation.
    mask = drawn & rollout.logps.isfinite()
    gaps = (replayed_logps - rollout.logps).abs()[mask]
    return torch.stack([gaps.sum(), mask.sum().to(gaps)])
