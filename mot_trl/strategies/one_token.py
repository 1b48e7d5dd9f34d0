"""One token per step: ordinary sampling, the control of every comparison."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from mot_trl.strategies.base import CheckedOptions, sample_visible, visible_logp, visible_logq
from mot_trl.strategies.mixture import LOG_ZERO_WEIGHT, Mixture
from mot_trl.strategies.support import top_candidates


@dataclass(frozen=True)
class OneToken(CheckedOptions):
    """One draw, with all the weight: ordinary GRPO.

    Without options the draw is from p. With `k` it is from q, p renormalized on the support that the mixtures with the
    same `k`, `min_prob`, `nucleus` and `adaptive` have, and is scored by log q: much of what looks like a gain of
    mixing is this truncation, so it is the matched control of every mixture.
    """

    k: int | None = None
    min_prob: float = 0.0
    nucleus: float = 1.0
    adaptive: bool = False

    exact: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the options; limits need a `k` to limit."""
        if self.k is not None:
            super().__post_init__()
        elif self.min_prob != 0:
            raise ValueError("`min_prob` is a share of `k` candidates: give one_token a `k` too, or leave it out.")
        elif self.nucleus != 1:
            raise ValueError("`nucleus` picks among `k` candidates: give one_token a `k` too, or leave it out.")
        elif self.adaptive:
            raise ValueError("`adaptive` picks among `k` candidates: give one_token a `k` too, or leave it out.")

    def draw(self, logps: Float[Tensor, "N V"]) -> Mixture:
        """Draw one token per row; without `k`, as transformers' `generate` does and with its random numbers."""
        if self.k is None:
            token_ids = torch.multinomial(logps.float().exp(), 1)
            return Mixture(token_ids, torch.zeros_like(token_ids, dtype=torch.float32), token_ids.squeeze(-1))
        candidate_ids, log_q = top_candidates(
            logps, k=self.k, min_prob=self.min_prob, nucleus=self.nucleus, adaptive=self.adaptive
        )
        visible_ids = sample_visible(candidate_ids, log_q)
        # The other candidates are recorded without weight: `log_prob` needs the support that the token was drawn from.
        others = log_q.masked_fill(log_q > -torch.inf, LOG_ZERO_WEIGHT)
        log_weights = others.masked_fill(candidate_ids == visible_ids.unsqueeze(-1), 0.0)
        return Mixture(candidate_ids, log_weights, visible_ids)

    def log_prob(self, candidate_logps: Float[Tensor, "N K"], mixture: Mixture) -> Float[Tensor, " N"]:
        """Log-probability of the token, under p or, with `k`, under q."""
        score = visible_logp if self.k is None else visible_logq
        return score(candidate_logps, mixture)

    visible_log_prob = log_prob
