"""The smallest set of tokens that holds a given mass, weighted by their probabilities."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from mot_trl.strategies.base import CheckedOptions, sample_mixture, visible_logq
from mot_trl.strategies.mixture import Mixture
from mot_trl.strategies.support import top_candidates


@dataclass(frozen=True)
class Nucleus(CheckedOptions):
    """Mixture of the fewest tokens that hold `nucleus` of p's mass, at most `k` (MoT-G, arXiv 2509.21482).

    The authors' code keeps the tail instead: a mask inverted. The blend is deterministic, as `top_k`'s is.
    """

    k: int = 8
    nucleus: float = 0.9
    min_prob: float = 0.0

    exact: ClassVar[bool] = False
    log_prob = visible_log_prob = staticmethod(visible_logq)

    def draw(self, logps: Float[Tensor, "N V"]) -> Mixture:
        """Take the nucleus and sample the visible token by weight."""
        return sample_mixture(*top_candidates(logps, k=self.k, min_prob=self.min_prob, nucleus=self.nucleus))
