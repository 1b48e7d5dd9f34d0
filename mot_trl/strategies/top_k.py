"""The likeliest tokens, weighted by their probabilities."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from mot_trl.mixture import Mixture
from mot_trl.strategies.base import draw_visible, visible_logp


@dataclass(frozen=True)
class TopK:
    """Mixture of the `k` likeliest tokens, weighted by p renormalised on them (MoT-G, arXiv 2509.21482).

    The blend is deterministic, so the log-probability of the visible token scores only what the text shows.
    """

    k: int = 2

    exact: ClassVar[bool] = False

    def draw(self, logps: Float[Tensor, "N V"]) -> Mixture:
        """Take the `k` likeliest tokens; the visible one is drawn with the probability of its weight."""
        candidate_logps, candidate_ids = logps.topk(self.k, dim=-1)
        log_weights = candidate_logps.log_softmax(dim=-1)
        return Mixture(candidate_ids, log_weights, draw_visible(candidate_ids, log_weights))

    def log_prob(self, candidate_logps: Float[Tensor, "N K"], mixture: Mixture) -> Float[Tensor, " N"]:
        """Log-probability of the visible token."""
        return visible_logp(candidate_logps, mixture)
