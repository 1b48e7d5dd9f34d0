"""Distinct tokens, drawn one after the other without replacement."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from mot_trl.strategies.base import CheckedOptions, exponential_like, visible_logp
from mot_trl.strategies.mixture import Mixture
from mot_trl.strategies.support import in_effect, in_support


@dataclass(frozen=True)
class WithoutReplacement(CheckedOptions):
    """Mixture of `k` tokens drawn from p without replacement, the first of them visible (MoT-G's "different tokens").

    Scored by the Plackett-Luce probability of the ordered draw; MoT-G (arXiv 2509.21482) scores it by the sum of
    q log p, which is no density of it. With `renormalized` weights the embedding depends on p as well, unscored.

    Attributes:
        k: How many tokens are drawn, or all that have probability.
        weights: `uniform`, or p `renormalized` on the tokens drawn.
        min_rest: Drawing ends when the tokens left have less probability than this. The next draw's probability is a
            ratio to it, and 1 - p has no digits left in float32 much below 1e-5.
        adaptive: Whether no more are drawn than p has tokens in effect.
    """

    k: int = 2
    weights: Literal["renormalized", "uniform"] = "uniform"
    min_rest: float = 1e-4
    adaptive: bool = False

    # The first draw is from all of p.
    visible_log_prob = staticmethod(visible_logp)

    @property
    def exact(self) -> bool:
        """With uniform weights the embedding depends on the draw alone; renormalized ones also depend on p."""
        return self.weights == "uniform"

    def draw(self, logps: Float[Tensor, "N V"]) -> Mixture:
        """Draw tokens per row in order, the winners of an exponential race (the Gumbel top-k trick)."""
        probs = logps.float().exp()
        rates, candidate_ids = (probs / exponential_like(probs)).topk(min(self.k, probs.shape[-1]), dim=-1)
        candidate_probs = probs.gather(-1, candidate_ids)
        # A rate of 0 is a token without probability. Past `min_rest` a token may well win, and could not be scored.
        unused = (rates == 0) | (1 - sum_before(candidate_probs) < self.min_rest)
        if self.adaptive:
            unused |= ~in_effect(logps, unused.shape[-1])
        # The first draw needs no rest; and every row must have a candidate.
        unused[..., 0] = False
        log_weights = torch.zeros_like(rates) if self.weights == "uniform" else candidate_probs.log()
        log_weights = log_weights.masked_fill(unused, -torch.inf).log_softmax(dim=-1)
        return Mixture(candidate_ids, log_weights, candidate_ids[..., 0])

    def log_prob(self, candidate_logps: Float[Tensor, "N K"], mixture: Mixture) -> Float[Tensor, " N"]:
        """Log-probability of the tokens in this order, `sum_j log(p_j / (1 - sum_{i<j} p_i))`."""
        used = in_support(mixture)
        logps = candidate_logps.float().masked_fill(~used, 0.0)
        probs = logps.exp() * used
        # What was still there to be drawn is at least what was drawn from it, whatever 1 - p has lost to rounding: the
        # model may have moved since the draw, to where `min_rest` no longer holds.
        drawn_later = probs.flip(-1).cumsum(dim=-1).flip(-1)
        rest = torch.maximum(1 - sum_before(probs), drawn_later).clamp_min(torch.finfo(torch.float32).tiny)
        return (logps - rest.log() * used).sum(dim=-1)


def sum_before(values: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
    """Sum of all values before each one."""
    return F.pad(values[..., :-1].cumsum(dim=-1), (1, 0))
