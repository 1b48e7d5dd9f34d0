"""The smallest set of tokens that holds a given mass, weighted by their probabilities."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from mot_trl.strategies.base import sample_visible, visible_logp
from mot_trl.strategies.mixture import Mixture
from mot_trl.strategies.support import check_support, top_candidates


@dataclass(frozen=True)
class Nucleus:
    """Mixture of the fewest tokens that hold `nucleus` of p's mass, at most `k` (MoT-G, arXiv 2509.21482).

    The authors' code keeps the tail instead: a mask inverted. The blend is deterministic, as `top_k`'s is.
    """

    k: int = 8
    nucleus: float = 0.9
    min_prob: float = 0.0

    exact: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse what no support allows."""
        check_support(k=self.k, min_prob=self.min_prob, nucleus=self.nucleus)

    def draw(self, logps: Float[Tensor, "N V"]) -> Mixture:
        """Take the nucleus; the visible token is drawn with the probability of its weight."""
        candidate_ids, log_weights = top_candidates(logps, k=self.k, min_prob=self.min_prob, nucleus=self.nucleus)
        return Mixture(candidate_ids, log_weights, sample_visible(candidate_ids, log_weights))

    def log_prob(self, candidate_logps: Float[Tensor, "N K"], mixture: Mixture) -> Float[Tensor, " N"]:
        """Log-probability of the visible token."""
        return visible_logp(candidate_logps, mixture)
