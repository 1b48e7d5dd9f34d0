"""The most likely tokens, weighted by their probabilities."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from mot_trl.strategies.base import CheckedOptions, sample_mixture, visible_logq
from mot_trl.strategies.mixture import Mixture
from mot_trl.strategies.support import top_candidates


@dataclass(frozen=True)
class TopK(CheckedOptions):
    """Mixture of the `k` most likely tokens, weighted by p renormalized on them (MoT-G, arXiv 2509.21482).

    The blend is deterministic, so the log-probability of the visible token scores only what the text shows. Candidates
    with less than `min_prob` of the candidates' mass are left out, and so are, if `adaptive`, those beyond the number
    of tokens that p has in effect.
    """

    k: int = 2
    min_prob: float = 0.0
    adaptive: bool = False

    # The embedding moves with p, and nothing random stands for that: the score misses this part of the gradient.
    exact: ClassVar[bool] = False
    log_prob = visible_log_prob = staticmethod(visible_logq)

    def draw(self, logps: Float[Tensor, "N V"]) -> Mixture:
        """Take the most likely tokens and sample the visible one by weight."""
        return sample_mixture(*top_candidates(logps, k=self.k, min_prob=self.min_prob, adaptive=self.adaptive))
