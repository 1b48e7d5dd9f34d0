"""Several independent draws, averaged."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mot_trl.strategies.base import CheckedOptions, visible_logp
from mot_trl.strategies.mixture import LOG_ZERO_WEIGHT, Mixture
from mot_trl.strategies.support import in_effect, in_support


@dataclass(frozen=True)
class Multiplex(CheckedOptions):
    """Mixture of `k` independent draws from p, the first of them visible (Multiplex Thinking, arXiv 2601.08808).

    A token drawn twice has its whole weight where it was first drawn; its other slots keep the draw, without weight.

    Attributes:
        weights: `uniform`, each draw 1/k; or p `renormalized` on the set of tokens drawn, however often each was.
            Then the embedding depends on p as well, unscored.
        aggregate: `joint`, the probability of all draws; or the `mean` of their log-probabilities, CoT2-MTS's
            (arXiv 2505.23648), whose ratio moves as one token's does and whose gradient is 1/k of the unbiased one.
        adaptive: Whether no more are drawn than p has tokens in effect.
    """

    k: int = 3
    weights: Literal["renormalized", "uniform"] = "uniform"
    aggregate: Literal["joint", "mean"] = "joint"
    adaptive: bool = False

    visible_log_prob = staticmethod(visible_logp)

    @property
    def exact(self) -> bool:
        """With uniform weights the embedding depends on the draws alone, and all of them are scored."""
        return self.weights == "uniform" and self.aggregate == "joint"

    def draw(self, logps: Float[Tensor, "N V"]) -> Mixture:
        """Draw `k` tokens per row with replacement."""
        probs = logps.float().exp()
        candidate_ids = torch.multinomial(probs, self.k, replacement=True)
        # Which draws of a row are the same token, and which of them repeat an earlier one.
        same = candidate_ids.unsqueeze(-1) == candidate_ids.unsqueeze(-2)
        if self.adaptive:
            used = in_effect(logps, self.k)
            same = same & used.unsqueeze(-1) & used.unsqueeze(-2)
        repeats = same.tril(diagonal=-1).any(dim=-1)
        shares = same.sum(dim=-1) / self.k if self.weights == "uniform" else probs.gather(-1, candidate_ids)
        # A draw is the same as itself, unless it is not used.
        unused = repeats | ~same.diagonal(dim1=-2, dim2=-1)
        log_weights = shares.log().masked_fill(unused, -torch.inf).log_softmax(dim=-1)
        # A repeat must not add to the blend a second time, and must stay in the support: its probability is scored.
        return Mixture(candidate_ids, log_weights.masked_fill(repeats, LOG_ZERO_WEIGHT), candidate_ids[..., 0])

    def log_prob(self, candidate_logps: Float[Tensor, "N K"], mixture: Mixture) -> Float[Tensor, " N"]:
        """Log-probability of the draws, or the mean of each one's."""
        # The ordered draws are scored; the embedding shows only their counts, whose probability is larger by the
        # multinomial coefficient: a constant, without gradient.
        used = in_support(mixture)
        total = candidate_logps.float().masked_fill(~used, 0.0).sum(dim=-1)
        return total if self.aggregate == "joint" else total / used.sum(dim=-1)
