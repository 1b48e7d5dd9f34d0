"""The most likely tokens, with weights drawn from a Dirichlet distribution around their probabilities."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.distributions import Gamma

from mot_trl.strategies.base import CheckedOptions, argmax_weight, exponential_like, sample_visible, visible_logq
from mot_trl.strategies.mixture import Mixture
from mot_trl.strategies.support import in_support, renormalize, top_candidates

SMALLEST_CONCENTRATION = 1e-3
"""Least concentration of a candidate; below it, a weight's logarithm would lose the digits that the score needs."""


@dataclass(frozen=True)
class Dirichlet(CheckedOptions):
    """Weights `w ~ Dir(a)` on the `k` most likely tokens, `a = max(concentration * q, 1e-3)`.

    MoT-G (arXiv 2509.21482) draws it and scores a representative token; here, as in CoT2 (arXiv 2505.23648), the
    density is scored. Its Fisher information about a candidate does not vanish with the candidate's share, so those
    below `min_prob` are left out. `polya_urn` is the same scheme at a finite resolution, and needs no floor.

    Attributes:
        concentration: Sum of the concentrations; the smaller, the closer to one token.
        visible: `drawn` with the probability of its weight, or the `heaviest`.
        adaptive: Whether candidates beyond the number of tokens that p has in effect are left out.
    """

    k: int = 2
    concentration: float = 1.0
    min_prob: float = 0.15
    visible: Literal["drawn", "heaviest"] = "drawn"
    adaptive: bool = False

    # Sampling the visible token adds a factor w_i, which does not depend on the model: its score is 0.
    exact: ClassVar[bool] = True

    def draw(self, logps: Float[Tensor, "N V"]) -> Mixture:
        """Draw weights for the most likely tokens."""
        candidate_ids, log_q = top_candidates(logps, k=self.k, min_prob=self.min_prob, adaptive=self.adaptive)
        log_weights = draw_log_weights(self._concentrations(log_q), log_q > -torch.inf)
        pick = sample_visible if self.visible == "drawn" else argmax_weight
        return Mixture(candidate_ids, log_weights, pick(candidate_ids, log_weights))

    def log_prob(self, candidate_logps: Float[Tensor, "N K"], mixture: Mixture) -> Float[Tensor, " N"]:
        """Log-density of the weights on the simplex of the candidates in use; 0 for a lone candidate."""
        used = in_support(mixture)
        each = self._concentrations(renormalize(candidate_logps, used))
        # The sum, not `concentration` itself: where the floor lifts a candidate, the sum exceeds it.
        total = each.masked_fill(~used, 0.0).sum(dim=-1)
        # Unused slots get a = 1 and log w = 0, which add exactly 0 to the sum below.
        each = each.masked_fill(~used, 1.0)
        log_weights = mixture.log_weights.masked_fill(~used, 0.0)
        return total.lgamma() + ((each - 1) * log_weights - each.lgamma()).sum(dim=-1)

    def visible_log_prob(self, candidate_logps: Float[Tensor, "N K"], mixture: Mixture) -> Float[Tensor, " N"]:
        """Log-probability of the visible token if it is `drawn`: the logarithm of its mean weight.

        That is q, but where the least concentration lifts a candidate. The probability of being the `heaviest` has no
        closed form; the mean weight stands in for it, and the score is biased.
        """
        log_q = renormalize(candidate_logps, in_support(mixture))
        return visible_logq(self._concentrations(log_q).log(), mixture)

    def _concentrations(self, log_q: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
        return (self.concentration * log_q.exp()).clamp_min(SMALLEST_CONCENTRATION)


def draw_log_weights(concentrations: Float[Tensor, "N K"], used: Bool[Tensor, "N K"]) -> Float[Tensor, "N K"]:
    """Log-weights drawn from the Dirichlet distributions with these concentrations; weights may underflow."""
    # For small a most gamma variates G(a) underflow (at a = 1e-3, nine in ten are below 1e-38), and a weight of
    # exactly 0 has no finite density. So draw their logarithms: G(a) = G(a + 1) * U^(1/a), where minus the logarithm
    # of a uniform variate U is an exponential one.
    gammas = Gamma(concentrations + 1, torch.ones_like(concentrations), validate_args=False).sample()
    log_gammas = gammas.log() - exponential_like(concentrations) / concentrations
    return log_gammas.masked_fill(~used, -torch.inf).log_softmax(dim=-1)
