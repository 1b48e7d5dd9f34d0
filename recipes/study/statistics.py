"""Figures of a study: differences, their p-values, and what so few seeds can see."""

from collections.abc import Callable, Sequence
from functools import cache
from math import isnan, nan, sqrt
from typing import NamedTuple

import torch

LEVEL, POWER = 0.05, 0.8
_POINTS = 40_001


class Difference(NamedTuple):
    """A difference with its 95 % interval and p-value by Student's t; NaN where its error is not known.

    Attributes:
        mean: The difference.
        half: Half of the interval's width.
        p_value: Two-sided, of no difference.
    """

    mean: float
    half: float
    p_value: float


def judge(mean: float, *, error: float, freedom: int) -> Difference:
    """A difference that is known with this standard error, itself estimated with `freedom` degrees of freedom."""
    if isnan(mean) or isnan(error) or freedom < 1:
        return Difference(mean, nan, nan)
    p_value = 2 * t_tail(abs(mean) / error, freedom) if error > 0 else float(mean == 0)
    return Difference(mean, t_quantile(1 - LEVEL / 2, freedom) * error, p_value)


def deviation(values: Sequence[float]) -> float:
    """Standard deviation, with n - 1; NaN of fewer than two values."""
    return torch.tensor(values, dtype=torch.float64).std().item() if len(values) > 1 else nan


class Spread(NamedTuple):
    """A standard deviation and its degrees of freedom; NaN and 0 where nothing was repeated."""

    deviation: float
    freedom: int


def pooled(groups: Sequence[Sequence[float]]) -> Spread:
    """One standard deviation within all groups."""
    groups = [group for group in groups if len(group) > 1]
    freedom = sum(len(group) - 1 for group in groups)
    squares = sum(deviation(group) ** 2 * (len(group) - 1) for group in groups)
    return Spread(sqrt(squares / freedom) if freedom else nan, freedom)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted so that one in twenty families of tests has a false one (Holm, 1979); NaN stays NaN."""
    tested = sorted((value, index) for index, value in enumerate(p_values) if value == value)
    adjusted, largest = [nan] * len(p_values), 0.0
    for rank, (value, index) in enumerate(tested):
        largest = max(largest, min(1.0, value * (len(tested) - rank)))
        adjusted[index] = largest
    return adjusted


def t_tail(value: float, freedom: int, shift: float = 0.0) -> float:
    """Probability that a t variate, non-central by `shift`, is above `value`.

    It is `(Z + shift) / S` with Z normal and `S^2` chi-square over its degrees of freedom, so the probability is the
    mean of `Phi(shift - value * S)` over S.
    """
    points = torch.linspace(0, 1 + 10 / sqrt(freedom), _POINTS, dtype=torch.float64)
    logs = (freedom - 1) * points.clamp_min(1e-300).log() - freedom * points.square() / 2
    weights = (logs - logs.max()).exp()
    weights[0] /= 2  # the trapezoid rule: of one degree of freedom the density does not begin at 0
    return ((torch.special.ndtr(shift - value * points) * weights).sum() / weights.sum()).item()


@cache
def t_quantile(probability: float, freedom: int) -> float:
    """The value that a t variate is below with this probability, 0.5 or more."""
    return _solve(lambda value: 1 - t_tail(value, freedom), probability)


def power(effect: float, seeds: int, *, paired: bool = False, arms: int = 2) -> float:
    """Chance that a two-sided t-test over seeds, at the 5 % level, finds a true difference of two arms.

    Args:
        effect: The difference, over the standard deviation of the paired differences or, unpaired, of each arm.
        seeds: Of each arm.
        paired: Whether runs of one seed are compared with one another.
        arms: Unpaired, how many arms the standard deviation is estimated from.
    """
    freedom = seeds - 1 if paired else arms * (seeds - 1)
    shift = effect * sqrt(seeds if paired else seeds / 2)
    critical = t_quantile(1 - LEVEL / 2, freedom)
    return t_tail(critical, freedom, shift) + t_tail(critical, freedom, -shift)


@cache
def detectable(seeds: int, *, paired: bool = False, arms: int = 2) -> float:
    """The least effect that is found with 80 % chance, in standard deviations as `power` has them."""
    return _solve(lambda effect: power(effect, seeds, paired=paired, arms=arms), POWER) if seeds > 1 else nan


def _solve(rising: Callable[[float], float], target: float) -> float:
    low, high = 0.0, 1.0
    while rising(high) < target:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < target else (low, middle)
    return high
