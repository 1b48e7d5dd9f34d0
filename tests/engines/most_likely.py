"""A strategy with nothing random, so that two engines must agree on every bit of a record."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from mot_trl.strategies.base import argmax_weight, visible_logp
from mot_trl.strategies.mixture import Mixture
from mot_trl.strategies.support import top_candidates


@dataclass(frozen=True)
class MostLikely:
    """The most likely tokens by their probability, nothing random: two engines must agree on every bit of it."""

    k: int = 3
    exact: ClassVar[bool] = False
    log_prob = staticmethod(visible_logp)

    def draw(self, logps: Float[Tensor, "N V"]) -> Mixture:
        candidate_ids, log_weights = top_candidates(logps, k=self.k)
        return Mixture(candidate_ids, log_weights, argmax_weight(candidate_ids, log_weights))
