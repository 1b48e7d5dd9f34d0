"""The likeliest tokens, with weights drawn from a Dirichlet distribution around their probabilities."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.distributions import Gamma

from mot_trl.strategies.base import argmax_weight, exponential_like, sample_visible
from mot_trl.strategies.mixture import Mixture
from mot_trl.strategies.support import check_support, in_support, renormalize, top_candidates

SMALLEST_CONCENTRATION = 1e-3
"""Least concentration of a candidate; below it, a weight's logarithm would lose the digits that the score needs."""


@dataclass(frozen=True)
class Dirichlet:
    """Weights `w ~ Dir(a)` on the `k` likeliest tokens, `a = max(concentration * q, 1e-3)` (MoT-G, arXiv 2509.21482).

    Scored by its density, as CoT2 does (arXiv 2505.23648); MoT-G draws it and scores a representative token. The
    Fisher information about a candidate does not vanish with its share, so a candidate below `min_prob` is left out:
    `polya_urn` is the same law at a finite resolution, whose score is quiet by itself.

    Attributes:
        concentration: Sum of the concentrations; the smaller, the closer to one token.
        min_prob: Share of the candidates' mass below which a candidate is left out.
        visible: `drawn` with the probability of its weight, or the `heaviest`.
    """

    k: int = 2
    concentration: float = 1.0
    min_prob: float = 0.15
    visible: Literal["drawn", "heaviest"] = "drawn"

    exact: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse what no support and no Dirichlet distribution allows."""
        check_support(k=self.k, min_prob=self.min_prob)
        if not 0 < self.concentration < float("inf"):
            raise ValueError(
                f"`concentration` must be a number above 0 (published: 1 or 4), not {self.concentration}."
            )
        if self.visible not in ("drawn", "heaviest"):
            raise ValueError(f'`visible` must be "drawn" or "heaviest", not {self.visible!r}.')

    def draw(self, logps: Float[Tensor, "N V"]) -> Mixture:
        """Draw weights for the likeliest tokens."""
        candidate_ids, log_q = top_candidates(logps, k=self.k, min_prob=self.min_prob)
        log_weights = draw_log_weights(self._each(log_q), log_q > -torch.inf)
        pick = sample_visible if self.visible == "drawn" else argmax_weight
        return Mixture(candidate_ids, log_weights, pick(candidate_ids, log_weights))

    def log_prob(self, candidate_logps: Float[Tensor, "N K"], mixture: Mixture) -> Float[Tensor, " N"]:
        """Log-density of the weights on the simplex of the candidates in use; 0 for a lone candidate."""
        used = in_support(mixture)
        each = self._each(renormalize(candidate_logps, used))
        total = each.masked_fill(~used, 0.0).sum(dim=-1)
        each = each.masked_fill(~used, 1.0)
        log_weights = mixture.log_weights.masked_fill(~used, 0.0)
        return total.lgamma() + ((each - 1) * log_weights - each.lgamma()).sum(dim=-1)

    def _each(self, log_q: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
        return (self.concentration * log_q.exp()).clamp_min(SMALLEST_CONCENTRATION)


def draw_log_weights(each: Float[Tensor, "N K"], used: Bool[Tensor, "N K"]) -> Float[Tensor, "N K"]:
    """Logarithms of weights of the Dirichlet distribution whose concentrations are `each`; weights may underflow."""
    # G(a) = G(a + 1) * U^(1/a), in logarithms; minus the logarithm of a uniform variate is an exponential one.
    gammas = Gamma(each + 1, torch.ones_like(each), validate_args=False).sample()
    log_gammas = gammas.log() - exponential_like(each) / each
    return log_gammas.masked_fill(~used, -torch.inf).log_softmax(dim=-1)
