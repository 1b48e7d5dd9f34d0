"""The likeliest tokens, blended by the largest value in each dimension."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from mot_trl.strategies.base import sample_visible, visible_logp
from mot_trl.strategies.mixture import Mixture
from mot_trl.strategies.support import check_support, top_candidates


@dataclass(frozen=True)
class ElementwiseMax:
    """Mixture whose embedding is the maximum, in each dimension, of the candidates' (MoT-G, arXiv 2509.21482).

    The weights, p renormalized on the candidates, say which are in use and how the visible token is drawn. The
    embedding leaves the hull of the candidates' and does not fade with a candidate's share: a floor on it may be wise.
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

    def blend(self, embeddings: Float[Tensor, "N K H"], log_weights: Float[Tensor, "N K"]) -> Float[Tensor, "N H"]:
        """Largest value of each dimension among the candidates in use."""
        unused = (log_weights == -torch.inf).unsqueeze(-1)
        return embeddings.masked_fill(unused, -torch.inf).amax(dim=-2)
