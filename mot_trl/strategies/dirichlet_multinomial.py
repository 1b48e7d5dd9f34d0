"""The most likely tokens, with Dirichlet weights rounded at random to multiples of `1 / resolution`."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from mot_trl.strategies.base import CheckedOptions, sample_mixture, visible_logq
from mot_trl.strategies.dirichlet import draw_log_weights
from mot_trl.strategies.mixture import LOG_ZERO_WEIGHT, Mixture
from mot_trl.strategies.support import in_support, renormalize, top_candidates


@dataclass(frozen=True)
class DirichletMultinomial(CheckedOptions):
    """Weights `n / resolution` on the `k` most likely tokens, n Dirichlet-multinomial counts (a Polya urn's).

    The distribution of `polya_urn`: an urn holds `concentration * q` of each token; `resolution` times one is drawn,
    and put back with one more of its kind. The counts are those of `resolution` draws from weights
    `w ~ Dir(concentration * q)`: a Dirichlet mixture (MoT-G, arXiv 2509.21482) rounded at random to multiples of
    `1 / resolution`, with the same mean. Their probability is closed-form, and its information about a candidate fades
    with the candidate's share. That of the Dirichlet density does not: most of it lies in how small the small weights
    are, which no embedding feels. `resolution=1` is one token, infinity a Dirichlet; `concentration=inf` would be
    `multiplex` on the most likely tokens.

    Attributes:
        concentration: What the urn holds at first; the smaller, the closer to one token.
        resolution: How many times a token is drawn; weights are multiples of its inverse.
        min_prob: Share of the candidates' mass below which a candidate is left out.
        adaptive: Whether candidates beyond the number of tokens that p has in effect are left out.
    """

    k: int = 3
    concentration: float = 1.0
    resolution: int = 8
    min_prob: float = 0.0
    adaptive: bool = False

    # The counts determine the weights and are scored in full; the visible token is sampled from the weights alone.
    exact: ClassVar[bool] = True
    # The mean of the weights is q.
    visible_log_prob = staticmethod(visible_logq)

    def draw(self, logps: Float[Tensor, "N V"]) -> Mixture:
        """Draw Dirichlet weights for the most likely tokens, then counts from the weights."""
        candidate_ids, log_q = top_candidates(logps, k=self.k, min_prob=self.min_prob, adaptive=self.adaptive)
        used = log_q > -torch.inf
        # Two stages rather than an urn: no loop over the draws. Inverting the cumulative weights instead of
        # `torch.multinomial` keeps the host from reading anything back.
        edges = draw_log_weights(self._concentrations(log_q), used).exp().cumsum(dim=-1)
        # The last edge is 1 whatever rounding did, so that no variate lies beyond it.
        edges = edges / edges[..., -1:]
        variates = torch.rand(*edges.shape[:-1], self.resolution, device=edges.device)
        slots = torch.searchsorted(edges, variates, right=True)
        counts = torch.zeros_like(log_q).scatter_add(-1, slots, torch.ones_like(slots, dtype=torch.float32))
        log_weights = (counts / self.resolution).log()
        # A count of 0 is an outcome: the candidate stays in the support, which `log_prob` renormalizes on.
        log_weights = log_weights.masked_fill(used & (counts == 0), LOG_ZERO_WEIGHT)
        return sample_mixture(candidate_ids, log_weights)

    def log_prob(self, candidate_logps: Float[Tensor, "N K"], mixture: Mixture) -> Float[Tensor, " N"]:
        """Dirichlet-multinomial log-probability of the counts; 0 for a lone candidate."""
        used = in_support(mixture)
        # Weights are stored as float32 logarithms; rounding restores the integers.
        counts = (mixture.log_weights.exp() * self.resolution).round()
        each = self._concentrations(renormalize(candidate_logps, used))
        drawn = counts > 0
        # A count of 0 adds 0, but its gradient would be a difference of two numbers of size 1/a.
        each = each.masked_fill(~drawn, 1.0)
        terms = (each + counts).lgamma() - each.lgamma() - (counts + 1).lgamma()
        rounds = torch.full_like(counts[..., 0], self.resolution)
        total = torch.full_like(rounds, self.concentration)
        return (rounds + 1).lgamma() + total.lgamma() - (total + rounds).lgamma() + (terms * drawn).sum(dim=-1)

    def _concentrations(self, log_q: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
        # Above 0, where the gamma function is finite.
        return (self.concentration * log_q.exp()).clamp_min(torch.finfo(torch.float32).tiny)
