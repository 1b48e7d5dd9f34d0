"""The most likely tokens, with weights from a softmax of Gumbel-perturbed log-probabilities."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from mot_trl.strategies.base import CheckedOptions, argmax_weight, exponential_like, visible_logq
from mot_trl.strategies.mixture import LOG_ZERO_WEIGHT, Mixture
from mot_trl.strategies.support import in_support, renormalize, top_candidates


@dataclass(frozen=True)
class GumbelSoftmax(CheckedOptions):
    """Weights `softmax((log q + g) / temperature)`, g Gumbel noise, on the `k` most likely tokens.

    Stochastic Soft Thinking (arXiv 2508.03440, temperature 0.5) draws it, SofT-GRPO (arXiv 2511.06411, 0.1) trains it.
    The heaviest candidate is visible, and is an exact draw from q (the Gumbel-max trick).

    Scored by its density, the Concrete one (arXiv 1611.00712). Noise around log q says as much about a candidate of
    share 1e-6 as about one of 0.5: 1/3 nat^2 of Fisher information per pair, for weights that no embedding feels. So
    weights below `min_ratio` of the heaviest are *censored*: the blend leaves them out, and the density integrates
    over them, in closed form. Both are exact, and the information about an unlikely candidate fades with its share.

    Attributes:
        temperature: Of the softmax, tau; the smaller, the closer to one token.
        min_ratio: Censors weights below this share of the heaviest; 0 is the published scheme.
        min_prob: Share of the candidates' mass below which a candidate is left out of the draw.
        nucleus: Mass of p that suffices; candidates beyond it are left out of the draw.
        adaptive: Whether candidates beyond the number of tokens that p has in effect are left out.
    """

    k: int = 5
    temperature: float = 0.5
    min_ratio: float = 0.1
    min_prob: float = 0.0
    nucleus: float = 1.0
    adaptive: bool = False

    # The visible token is a function of the weights (the heaviest), so their density covers everything random.
    exact: ClassVar[bool] = True
    # At any temperature, and censored or not: the largest weight is that of the largest perturbed log q.
    visible_log_prob = staticmethod(visible_logq)

    def draw(self, logps: Float[Tensor, "N V"]) -> Mixture:
        """Draw weights for the most likely tokens."""
        candidate_ids, log_q = top_candidates(
            logps, k=self.k, min_prob=self.min_prob, nucleus=self.nucleus, adaptive=self.adaptive
        )
        # The logarithm of an exponential variate is minus a Gumbel one.
        scores = (log_q - exponential_like(log_q).log()) / self.temperature
        censored = scores < scores.amax(dim=-1, keepdim=True) + self._log_min_ratio
        # Weights are renormalized on those kept; the censored ones stay in the support, as the density needs them.
        log_weights = scores.masked_fill(censored, -torch.inf).log_softmax(dim=-1)
        log_weights = log_weights.masked_fill(censored & (log_q > -torch.inf), LOG_ZERO_WEIGHT)
        return Mixture(candidate_ids, log_weights, argmax_weight(candidate_ids, log_weights))

    def log_prob(self, candidate_logps: Float[Tensor, "N K"], mixture: Mixture) -> Float[Tensor, " N"]:
        """Log-density of the weights on the simplex of the candidates with weight; 0 for a lone candidate.

        Let a row have n weights `w_i`, and let the censored ones be known to lie below `w_max * min_ratio`. In the
        scores `s = log q + g`, whose densities are `q_i exp(-s - q_i exp(-s))` and distributions `exp(-q_i exp(-s))`,
        all but the level is given; integrating the level out leaves, with `v_i = w_i` or, where censored, `w_max *
        min_ratio`, `Gamma(n) tau^(n-1) prod_i q_i w_i^(-tau-1) / (sum_j q_j v_j^-tau)^n`: products over the n, the sum
        over all.
        """
        used = in_support(mixture)
        # With censoring, a kept weight is at least `min_ratio` / k, far above `LOG_ZERO_WEIGHT`. Without it, a small
        # temperature may put a regular log-weight below that mark, so all of the support counts as weighted.
        weighted = used & (mixture.log_weights > LOG_ZERO_WEIGHT / 2) if self.min_ratio > 0 else used
        log_q = renormalize(candidate_logps, used)
        count = weighted.sum(dim=-1)
        ceilings = mixture.log_weights.amax(dim=-1, keepdim=True) + self._log_min_ratio
        bounds = torch.where(weighted, mixture.log_weights, ceilings).masked_fill(~used, 0.0)
        # `level` is the logarithm of the sum over j, the integral over the common level of all scores.
        level = (log_q - self.temperature * bounds).masked_fill(~used, -torch.inf).logsumexp(dim=-1)
        # At most two powers of one weight meet, so nothing here underflows, as w^-tau itself would.
        each = (log_q - (self.temperature + 1) * bounds).masked_fill(~weighted, 0.0).sum(dim=-1)
        return torch.lgamma(count.float()) + (count - 1) * math.log(self.temperature) + each - count * level

    @property
    def _log_min_ratio(self) -> float:
        return math.log(self.min_ratio) if self.min_ratio > 0 else -math.inf
