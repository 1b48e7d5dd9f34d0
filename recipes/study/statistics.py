"""t-tests on accuracies, and the differences that a number of seeds can detect."""

from collections.abc import Sequence
from math import isnan, nan, sqrt
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.stats import t as student_t
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestIndPower, TTestPower

LEVEL, POWER = 0.05, 0.8


class Difference(NamedTuple):
    """A difference with its 95 % interval and p-value by Student's t; NaN where its error is unknown.

    Attributes:
        mean: The difference.
        half: Half the width of the interval.
        p_value: Two-sided, of no difference.
    """

    mean: float
    half: float
    p_value: float


class PooledStd(NamedTuple):
    """A standard deviation and its degrees of freedom; NaN and 0 where nothing was repeated."""

    std: float
    dof: int


def t_test(mean: float, *, error: float, dof: int) -> Difference:
    """Test a difference whose standard error was estimated with `dof` degrees of freedom."""
    if isnan(mean) or isnan(error) or dof < 1:
        return Difference(mean, nan, nan)
    # A standard error of 0 leaves no doubt, and t would be 0 / 0 for equal accuracies.
    p_value = 2 * student_t.sf(abs(mean) / error, dof) if error > 0 else float(mean == 0)
    return Difference(mean, float(student_t.ppf(1 - LEVEL / 2, dof)) * error, float(p_value))


def sample_std(values: Sequence[float]) -> float:
    """Standard deviation with n - 1 in the denominator; NaN for fewer than two values."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else nan


def pooled(groups: Sequence[Sequence[float]]) -> PooledStd:
    """The standard deviation within groups, pooled over all groups."""
    groups = [group for group in groups if len(group) > 1]
    dof = sum(len(group) - 1 for group in groups)
    squares = sum(sample_std(group) ** 2 * (len(group) - 1) for group in groups)
    return PooledStd(sqrt(squares / dof) if dof else nan, dof)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for their number by Holm's method (1979); NaN stays NaN and is not counted."""
    adjusted, tested = np.array(p_values, dtype=float), ~np.isnan(p_values)
    if tested.any():
        adjusted[tested] = multipletests(adjusted[tested], method="holm")[1]
    return adjusted.tolist()


def power(effect: float, seeds: int, *, paired: bool = False, variants: int = 2) -> float:
    """Probability that a two-sided t-test over seeds, at the 5 % level, detects a true difference of two variants.

    Args:
        effect: The difference in standard deviations: of the paired differences or, unpaired, of each variant.
        seeds: Number of seeds of each variant.
        paired: Whether runs of the same seed are compared with one another.
        variants: Unpaired, how many variants the standard deviation is pooled over.
    """
    # One tail of the test: the other one detects a difference of the wrong sign, and scipy's non-central t
    # distribution is NaN there. R's `power.t.test` leaves it out as well.
    tail = {"alpha": LEVEL / 2, "alternative": "larger"}
    if paired:
        return float(TTestPower().power(effect, seeds, **tail))
    return float(TTestIndPower().power(effect, seeds, df=variants * (seeds - 1), **tail))


def detectable(seeds: int, *, paired: bool = False, variants: int = 2) -> float:
    """The least effect that `power` detects with 80 % probability; NaN for a single seed."""
    if seeds < 2:
        return nan
    # statsmodels' own solver takes no degrees of freedom. The bracket grows from below, since scipy's non-central t
    # distribution is NaN far beyond the solution.
    high = 0.5
    while power(high, seeds, paired=paired, variants=variants) < POWER:
        high *= 1.5
    return brentq(lambda effect: power(effect, seeds, paired=paired, variants=variants) - POWER, 0, high)
