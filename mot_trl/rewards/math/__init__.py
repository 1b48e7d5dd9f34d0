"""Equivalence of mathematical answers, exactly and in bounded time; `MathReward` is the TRL reward.

The sandbox imports this package to get at `math_verify_worker`, so nothing here may import more than the standard
library, nor `mot_trl.sandbox` itself, whose `__init__` is not run there.
"""

from mot_trl.rewards.math.equivalence import MathReward, asks_for_percent, is_equivalent

__all__ = ["MathReward", "asks_for_percent", "is_equivalent"]
