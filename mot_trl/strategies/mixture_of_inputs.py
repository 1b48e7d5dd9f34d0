"""The sampled token, blended with the likeliest ones as far as p is undecided."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from mot_trl.strategies.base import exponential_like, visible_logp
from mot_trl.strategies.mixture import Mixture
from mot_trl.strategies.support import check_support


@dataclass(frozen=True)
class MixtureOfInputs:
    """Mixture of a token drawn from p and the likeliest ones, gated by p's entropy (arXiv 2505.14827).

    With H the entropy of p over its maximum, log V, and x the token drawn, the weights are
    `(H q_i + (1 + beta - H) 1[i = x]) / (1 + beta)`. The candidates are the `k` likeliest tokens, the last replaced by
    x where x is not among them, and q is p renormalized on them; the paper mixes all tokens, its code 20. The
    embedding depends on p beside x, unscored.
    """

    k: int = 20
    beta: float = 1.0

    exact: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse what leaves no mixture."""
        check_support(k=self.k)
        if not 0 <= self.beta < math.inf:
            raise ValueError(f"`beta` is a weight of the token drawn: give 0 or more (published: 1), not {self.beta}.")

    def draw(self, logps: Float[Tensor, "N V"]) -> Mixture:
        """Draw a token from p, and join the likeliest ones to it."""
        logps = logps.float()
        probs = logps.exp()
        visible_ids = (probs / exponential_like(probs)).argmax(dim=-1, keepdim=True)
        candidate_ids = logps.topk(min(self.k, logps.shape[-1]), dim=-1).indices
        missing = (candidate_ids != visible_ids).all(dim=-1, keepdim=True)
        candidate_ids = torch.cat(
            [candidate_ids[..., :-1], torch.where(missing, visible_ids, candidate_ids[..., -1:])], -1
        )
        shares = logps.gather(-1, candidate_ids).softmax(dim=-1)
        certainty = 1 - torch.special.entr(probs).sum(dim=-1, keepdim=True) / math.log(logps.shape[-1])
        weights = ((1 - certainty) * shares + (self.beta + certainty) * (candidate_ids == visible_ids)) / (
            1 + self.beta
        )
        return Mixture(candidate_ids, weights.log().log_softmax(dim=-1), visible_ids.squeeze(-1))

    def log_prob(self, candidate_logps: Float[Tensor, "N K"], mixture: Mixture) -> Float[Tensor, " N"]:
        """Log-probability of the token drawn."""
        return visible_logp(candidate_logps, mixture)
