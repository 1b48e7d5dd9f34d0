"""The sampled token, blended with the most likely ones as far as p is undecided."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from mot_trl.strategies.base import CheckedOptions, exponential_like, visible_logp
from mot_trl.strategies.mixture import Mixture


@dataclass(frozen=True)
class MixtureOfInputs(CheckedOptions):
    """Mixture of a token drawn from p and the most likely ones, gated by p's entropy (arXiv 2505.14827).

    With H the entropy of p over its maximum, log V, and x the token drawn, the weights are
    `(H q_i + (1 + beta - H) 1[i = x]) / (1 + beta)`. The candidates are the `k` most likely tokens, the last replaced
    by x where x is not among them, and q is p renormalized on them; the paper mixes all tokens, its code 20.
    """

    k: int = 20
    beta: float = 1.0

    # The score covers x; the weights depend on p as well, through q and H.
    exact: ClassVar[bool] = False
    log_prob = visible_log_prob = staticmethod(visible_logp)

    def draw(self, logps: Float[Tensor, "N V"]) -> Mixture:
        """Draw a token from p and add the most likely ones."""
        logps = logps.float()
        probs = logps.exp()
        visible_ids = (probs / exponential_like(probs)).argmax(dim=-1, keepdim=True)
        candidate_ids = logps.topk(min(self.k, logps.shape[-1]), dim=-1).indices
        # x takes the place of the least likely candidate, so that the number of candidates stays `k`.
        present = (candidate_ids == visible_ids).any(dim=-1, keepdim=True)
        candidate_ids[..., -1:] = candidate_ids[..., -1:].where(present, visible_ids)
        shares = logps.gather(-1, candidate_ids).softmax(dim=-1)
        # `entr` is 0 at probability 0, where -p log p written out is NaN.
        certainty = 1 - torch.special.entr(probs).sum(dim=-1, keepdim=True) / math.log(logps.shape[-1])
        weights = (1 - certainty) * shares + (self.beta + certainty) * (candidate_ids == visible_ids)
        log_weights = (weights / (1 + self.beta)).log().log_softmax(dim=-1)
        return Mixture(candidate_ids, log_weights, visible_ids.squeeze(-1))
