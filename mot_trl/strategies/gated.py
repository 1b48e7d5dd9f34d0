"""Sparse mixing: a gate that lets another strategy mix at some steps, and draws one plain token at all others."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from mot_trl.strategies.base import CheckedOptions, Strategy
from mot_trl.strategies.mixture import LOG_PLAIN_TOKEN, Mixture
from mot_trl.strategies.multiplex import Multiplex
from mot_trl.strategies.one_token import OneToken
from mot_trl.strategies.support import entropy
from mot_trl.strategies.surrogate import LogProbType, surrogate


@dataclass(frozen=True)
class Gated(CheckedOptions):
    """Sparse mixing: another strategy's mixture where a gate opens, else one token drawn from p.

    The gate opens by chance (N-GRPO, arXiv 2606.10768), or where p is undecided, or where both hold. The score is
    `m log density + (1 - m) log p`, with m = 1 where it opened. A coin needs no score, since no model decides it; and
    on which side of a threshold the entropy lies is constant almost everywhere, as the set of the most likely tokens
    is. The record tells which was drawn, since a plain token stands there twice, the second time with a weight of its
    own kind: rounding that moves the entropy across the threshold at replay changes nothing.

    Attributes:
        wrapped: The strategy that mixes. By name, it takes its own options from those of the gate: `k`, for example.
        rate: Probability that the gate opens; None for 0.1, N-GRPO's, or for 1 where there is a threshold.
        min_entropy: Entropy of p (nats) below which the gate stays closed; None for no threshold.
    """

    wrapped: Strategy = field(default_factory=Multiplex)
    rate: float | None = None
    min_entropy: float | None = None

    published_rate: ClassVar[float] = 0.1

    def __post_init__(self) -> None:
        """Check the options; a gate within a gate would be one with another rate."""
        super().__post_init__()
        if isinstance(self.wrapped, Gated):
            raise ValueError("`wrapped` may be any strategy but `gated` itself.")

    @property
    def exact(self) -> bool:
        """Where the mixtures are scored exactly, so is the whole: plain tokens always are."""
        return self.wrapped.exact

    def draw(self, logps: Float[Tensor, "N V"]) -> Mixture:
        """Draw a mixture and a token per row, and keep the one that the gate lets through; the slots are `k` + 1."""
        mixture, token = self.wrapped.draw(logps), OneToken().draw(logps)
        opened = self._opens(logps)
        # One slot more than the mixture has, so that there are two for a token; unused slots repeat a token in use.
        candidate_ids = torch.cat([mixture.candidate_ids, mixture.candidate_ids[..., :1]], dim=-1)
        log_weights = F.pad(mixture.log_weights, (0, 1), value=-torch.inf)
        plain = F.pad(token.log_weights, (0, 1), value=LOG_PLAIN_TOKEN)
        plain = F.pad(plain, (0, log_weights.size(-1) - 2), value=-torch.inf)
        at = opened.unsqueeze(-1)
        return Mixture(
            torch.where(at, candidate_ids, token.candidate_ids),
            torch.where(at, log_weights, plain),
            torch.where(opened, mixture.visible_ids, token.visible_ids),
        )

    def log_prob(self, candidate_logps: Float[Tensor, "N K"], mixture: Mixture) -> Float[Tensor, " N"]:
        """Log-density of each mixture, log-probability of each plain token."""
        return self._score(candidate_logps, mixture, "density")

    def visible_log_prob(self, candidate_logps: Float[Tensor, "N K"], mixture: Mixture) -> Float[Tensor, " N"]:
        """Log-probability of the visible token, under the distribution that its mixture draws it from or under p."""
        return self._score(candidate_logps, mixture, "visible")

    def _opens(self, logps: Float[Tensor, "N V"]) -> Bool[Tensor, " N"]:
        default = self.published_rate if self.min_entropy is None else 1.0
        opened = torch.rand(len(logps), device=logps.device) < (default if self.rate is None else self.rate)
        return opened if self.min_entropy is None else opened & (entropy(logps) >= self.min_entropy)

    def _score(
        self, candidate_logps: Float[Tensor, "N K"], mixture: Mixture, log_prob_type: LogProbType
    ) -> Float[Tensor, " N"]:
        # Greedy decoding records a single slot, which the strategy reads as a lone candidate.
        ids, log_weights = mixture.candidate_ids, mixture.log_weights
        is_plain = torch.zeros_like(log_weights[..., 0], dtype=torch.bool)
        if log_weights.size(-1) > 1:
            # Both, since a strategy's own weight may happen to be that number; but then its two tokens differ.
            is_plain = (log_weights[..., 1] == LOG_PLAIN_TOKEN) & (ids[..., 1] == ids[..., 0])
        # A plain token, too, is shown to the strategy as a lone candidate: a score without any would be NaN, and so
        # would its gradient, however it is masked.
        repeats = is_plain.unsqueeze(-1) & (log_weights == LOG_PLAIN_TOKEN)
        own = mixture._replace(log_weights=log_weights.masked_fill(repeats, -torch.inf))
        scores = surrogate(self.wrapped, candidate_logps, own, log_prob_type=log_prob_type)
        return torch.where(is_plain, candidate_logps[..., 0].float(), scores)
