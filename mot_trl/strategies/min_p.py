"""The tokens not much less likely than the most likely one, weighted by their probabilities."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from mot_trl.strategies.base import CheckedOptions, sample_mixture, visible_logq
from mot_trl.strategies.mixture import Mixture
from mot_trl.strategies.support import top_candidates


@dataclass(frozen=True)
class MinP(CheckedOptions):
    """Mixture of the tokens with `min_p` times the largest probability, at most `k` (MoT-G's taxonomy).

    The blend is deterministic, as `top_k`'s is. The rule is min-p sampling's (arXiv 2407.01082).
    """

    k: int = 8
    min_p: float = 0.1
    min_prob: float = 0.0

    exact: ClassVar[bool] = False
    log_prob = visible_log_prob = staticmethod(visible_logq)

    def draw(self, logps: Float[Tensor, "N V"]) -> Mixture:
        """Take the tokens likely enough and sample the visible one by weight."""
        candidate_ids, log_q = top_candidates(logps, k=self.k, min_prob=self.min_prob)
        # Ratios of q are ratios of p, and candidates come sorted, so the first is the largest.
        ratios = (log_q - log_q[..., :1]).exp()
        return sample_mixture(candidate_ids, log_q.masked_fill(ratios < self.min_p, -torch.inf).log_softmax(dim=-1))
