"""The likeliest tokens, weighted by their probabilities."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from mot_trl.strategies.base import sample_visible, visible_logp
from mot_trl.strategies.mixture import Mixture
from mot_trl.strategies.support import check_support, top_candidates


@dataclass(frozen=True)
class TopK:
    """Mixture of the `k` likeliest tokens, weighted by p renormalized on them (MoT-G, arXiv 2509.21482).

    The blend is deterministic, so the log-probability of the visible token scores only what the text shows. Candidates
    with less than `min_prob` of the mass are left out.
    """

    k: int = 2
    min_prob: float = 0.0

    exact: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse what no support allows."""
        check_support(k=self.k, min_prob=self.min_prob)

    def draw(self, logps: Float[Tensor, "N V"]) -> Mixture:
        """Take the likeliest tokens; the visible one is drawn with the probability of its weight."""
        candidate_ids, log_weights = top_candidates(logps, k=self.k, min_prob=self.min_prob)
        return Mixture(candidate_ids, log_weights, sample_visible(candidate_ids, log_weights))

    def log_prob(self, candidate_logps: Float[Tensor, "N K"], mixture: Mixture) -> Float[Tensor, " N"]:
        """Log-probability of the visible token."""
        return visible_logp(candidate_logps, mixture)
