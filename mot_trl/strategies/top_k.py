"""The likeliest tokens, weighted by their probabilities."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from mot_trl.mixture import Mixture
from mot_trl.strategies.base import draw_visible, visible_logp
from mot_trl.strategies.support import check_support, likeliest


@dataclass(frozen=True)
class TopK:
    """Mixture of the `k` likeliest tokens, weighted by p renormalised on them (MoT-G, arXiv 2509.21482).

    The blend is deterministic, so the log-probability of the visible token scores only what the text shows. Candidates
    with less than `min_share` of the mass are left out.
    """

    k: int = 2
    min_share: float = 0.0

    exact: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse what no support allows."""
        check_support(k=self.k, min_share=self.min_share)

    def draw(self, logps: Float[Tensor, "N V"]) -> Mixture:
        """Take the likeliest tokens; the visible one is drawn with the probability of its weight."""
        candidate_ids, log_weights = likeliest(logps, k=self.k, min_share=self.min_share)
        return Mixture(candidate_ids, log_weights, draw_visible(candidate_ids, log_weights))

    def log_prob(self, candidate_logps: Float[Tensor, "N K"], mixture: Mixture) -> Float[Tensor, " N"]:
        """Log-probability of the visible token."""
        return visible_logp(candidate_logps, mixture)
