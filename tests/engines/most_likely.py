"""Strategies that make it plain which mixtures were fed."""

from dataclasses import dataclass
from typing import ClassVar

import torch
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


@dataclass(frozen=True)
class OneVisible:
    """Mixtures of one token, which is always the visible one, and the most likely, with random weights.

    Completions are of the same tokens, and of other mixtures: what took the ones for the others would show.
    """

    token: int = 7
    exact: ClassVar[bool] = False
    log_prob = staticmethod(visible_logp)

    def draw(self, logps: Float[Tensor, "N V"]) -> Mixture:
        visible_ids = torch.full_like(logps[:, 0], self.token, dtype=torch.long)
        others = logps.index_fill(1, visible_ids[:1], -torch.inf).argmax(dim=-1)
        log_weights = torch.rand_like(logps[:, :2]).log_softmax(dim=-1)
        return Mixture(torch.stack([visible_ids, others], dim=-1), log_weights, visible_ids)
