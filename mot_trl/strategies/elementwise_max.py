"""The most likely tokens, blended by the largest value in each dimension."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from mot_trl.strategies.base import CheckedOptions, sample_mixture, visible_logq
from mot_trl.strategies.mixture import Mixture
from mot_trl.strategies.support import top_candidates


@dataclass(frozen=True)
class ElementwiseMax(CheckedOptions):
    """Mixture whose embedding is the maximum, in each dimension, of the candidates' (MoT-G, arXiv 2509.21482).

    The weights, p renormalized on the candidates, say which are in use and how the visible token is sampled. The
    embedding leaves the convex hull of the candidates' and does not fade with a candidate's share: a floor on the
    share (`min_prob`) may be wise, or `adaptive`: no more candidates than p has tokens in effect.
    """

    k: int = 2
    min_prob: float = 0.0
    adaptive: bool = False

    exact: ClassVar[bool] = False
    log_prob = visible_log_prob = staticmethod(visible_logq)

    def draw(self, logps: Float[Tensor, "N V"]) -> Mixture:
        """Take the most likely tokens and sample the visible one by weight."""
        return sample_mixture(*top_candidates(logps, k=self.k, min_prob=self.min_prob, adaptive=self.adaptive))

    def blend(self, embeddings: Float[Tensor, "N K H"], log_weights: Float[Tensor, "N K"]) -> Float[Tensor, "N H"]:
        """Largest value of each dimension among the candidates in use."""
        # Unused slots hold arbitrary tokens, which a maximum, unlike a weighted sum, would let through.
        unused = (log_weights == -torch.inf).unsqueeze(-1)
        return embeddings.masked_fill(unused, -torch.inf).amax(dim=-2)
