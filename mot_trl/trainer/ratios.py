"""Warn of ratios that leave TRL's clip far more often at thoughts than at ordinary tokens."""

import math
from dataclasses import dataclass, field

from jaxtyping import Bool, Float
from torch import Tensor
from transformers.utils import logging

from mot_trl.strategies import Strategy

logger = logging.get_logger(__name__)

# Losses that clip a token's ratio; above, where the advantage is negative, only `delta` bounds it.
CLIPPED_LOSSES = ("grpo", "bnpo", "dr_grpo", "dapo", "luspo")

# What thoughts may exceed ordinary tokens by; exact scores of several draws do so by 6 points, noisy densities by 10
# to 18 (`benchmarks/ratios.py`). Beside it, three standard errors of the difference.
MARGIN, ERRORS = 0.05, 3.0

# Of the counts, at each pass: so that late drift is not drowned in an earlier calm.
DECAY = 0.9


@dataclass
class RatioWatch:
    """Counts ratios beyond the clip over the passes after a first step; warns once, on the process that may.

    Attributes:
        clip: Bounds of a ratio, `1 - epsilon` and `1 + epsilon_high`.
        warns: Whether this process is the one to warn.
        counts: Ratios beyond the clip and in all, at thoughts and at ordinary tokens.
    """

    strategy: Strategy
    clip: tuple[float, float]
    warns: bool = True
    counts: list[float] = field(default_factory=lambda: [0.0] * 4)

    def add(
        self, log_ratios: Float[Tensor, "B C"], thoughts: Bool[Tensor, "B C"], tokens: Bool[Tensor, "B C"]
    ) -> None:
        """Count a pass, and warn if thoughts exceed tokens by more than chance."""
        if not self.warns:
            return
        low, high = self.clip
        beyond = (log_ratios < math.log(low)) | (log_ratios > math.log(high))
        groups = [beyond & thoughts, thoughts, beyond & tokens, tokens]
        self.counts = [DECAY * count + int(mask.sum()) for count, mask in zip(self.counts, groups, strict=True)]
        if exceeds(*self.counts):
            self.warns = False
            logger.warning(self._message())

    def _message(self) -> str:
        beyond, thoughts, others, tokens = self.counts
        return (
            f"{beyond / thoughts:.0%} of the ratios of thoughts are beyond the clip, against "
            f"{others / max(tokens, 1):.0%} of those of ordinary tokens: one step moves the log-probabilities of "
            f"{self.strategy} further than a token's, and where the advantage is negative nothing bounds a ratio from "
            "above. Set `delta=2.0`, or use each rollout for one step (`num_iterations=1`, `steps_per_generation` no "
            "more than `gradient_accumulation_steps`), or take a score with less noise: `min_ratio=0.1` for "
            "gumbel_softmax, `polya_urn` for dirichlet (presets `gumbel_exact`, `dirichlet_exact`), or "
            "`mixture_score='visible'`."
        )


def exceeds(beyond: float, thoughts: float, others: float, tokens: float) -> bool:
    """Whether the first of two shares is larger than the second by more than the margin and chance."""
    # Agresti and Caffo's interval: one more success and failure in each keep small counts honest.
    shares = (beyond + 1) / (thoughts + 2), (others + 1) / (tokens + 2)
    error = math.sqrt(sum(p * (1 - p) / (n + 2) for p, n in zip(shares, (thoughts, tokens), strict=True)))
    return shares[0] - shares[1] > max(MARGIN, ERRORS * error)
