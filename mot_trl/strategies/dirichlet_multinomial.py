"""The likeliest tokens, with Dirichlet weights seen at a finite resolution."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from mot_trl.strategies.base import sample_visible
from mot_trl.strategies.dirichlet import draw_log_weights
from mot_trl.strategies.mixture import LOG_ZERO_WEIGHT, Mixture
from mot_trl.strategies.support import check_support, in_support, renormalize, top_candidates


@dataclass(frozen=True)
class DirichletMultinomial:
    """Weights `n / resolution` on the `k` likeliest tokens, n being how often each comes out of a Polya urn.

    An urn holds `concentration * q` of each token; `resolution` times one is drawn, and put back with one more of its
    kind. The counts are as many draws from weights `w ~ Dir(concentration * q)`: a Dirichlet mixture (MoT-G, arXiv
    2509.21482) rounded at random to multiples of `1 / resolution`, with the same mean. Their probability is
    closed-form, and its information about a candidate fades with the candidate's share, which that of the Dirichlet
    density does not: most of the latter lies in how small the small weights are, which no embedding feels. Between
    `resolution=1`, which is one token, and a Dirichlet at infinity; `concentration=inf` would be `multiplex` on the
    likeliest tokens.

    Attributes:
        concentration: What the urn holds at first; the smaller, the closer to one token.
        resolution: How many times a token is drawn; weights are multiples of its inverse.
        min_prob: Share of the candidates' mass below which a candidate is left out.
    """

    k: int = 3
    concentration: float = 1.0
    resolution: int = 8
    min_prob: float = 0.0

    exact: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse what no support and no urn allows."""
        check_support(k=self.k, min_prob=self.min_prob)
        if not 0 < self.concentration < float("inf"):
            raise ValueError(f"`concentration` must be a number above 0 (1 is common), not {self.concentration}.")
        if self.resolution < 1:
            raise ValueError(f"`resolution` is a number of draws, so it must be at least 1, not {self.resolution}.")

    def draw(self, logps: Float[Tensor, "N V"]) -> Mixture:
        """Draw Dirichlet weights for the likeliest tokens, then counts from the weights."""
        candidate_ids, log_q = top_candidates(logps, k=self.k, min_prob=self.min_prob)
        used = log_q > -torch.inf
        edges = draw_log_weights(self._each(log_q), used).exp().cumsum(dim=-1)
        # The last edge is 1 whatever rounding did, so that no variate lies beyond it.
        edges = edges / edges[..., -1:]
        slots = torch.searchsorted(
            edges, torch.rand(*edges.shape[:-1], self.resolution, device=edges.device), right=True
        )
        counts = torch.zeros_like(log_q).scatter_add(-1, slots, torch.ones_like(slots, dtype=torch.float32))
        log_weights = (counts / self.resolution).log()
        log_weights = log_weights.masked_fill(used & (counts == 0), LOG_ZERO_WEIGHT)
        return Mixture(candidate_ids, log_weights, sample_visible(candidate_ids, log_weights))

    def log_prob(self, candidate_logps: Float[Tensor, "N K"], mixture: Mixture) -> Float[Tensor, " N"]:
        """Log-probability of the counts, a Dirichlet-multinomial one; 0 for a lone candidate."""
        used = in_support(mixture)
        counts = (mixture.log_weights.exp() * self.resolution).round()
        each = self._each(renormalize(candidate_logps, used))
        drawn = counts > 0
        each = each.masked_fill(~drawn, 1.0)
        orders = (each + counts).lgamma() - each.lgamma() - (counts + 1).lgamma()
        rounds = torch.full_like(counts[..., 0], self.resolution)
        total = torch.full_like(rounds, self.concentration)
        return (rounds + 1).lgamma() + total.lgamma() - (total + rounds).lgamma() + (orders * drawn).sum(dim=-1)

    def _each(self, log_q: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
        # Above 0, where the gamma function is finite.
        return (self.concentration * log_q.exp()).clamp_min(torch.finfo(torch.float32).tiny)
