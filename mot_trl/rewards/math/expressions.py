"""Whether two expressions or equations are the same, by their values at fixed random points."""

import cmath
import random
from collections.abc import Callable

from mot_trl.rewards.math.numeric import Unreadable, evaluate, tokens

_TOLERANCE = 1e-11
# Reals of both signs and a complex point: `\\sqrt{x^2}` and `x` agree on the positive reals alone.
_SEEDS = (("positive", 1), ("positive", 2), ("real", 3), ("complex", 4))
# More digits than floats can tell from the irrational they round.
_MAX_DECIMALS = 9


def same_expression(gold: str, answer: str) -> bool | None:
    """Whether two normalised expressions agree wherever both have values; None where that cannot be told.

    They are compared at positive, real and complex points. Different at a positive point: False. The same at all:
    True. A long decimal that agrees as far as floats go is what somebody rounded: False.
    """
    try:
        first, second = tokens(gold), tokens(answer)
        verdicts = [_close(evaluate(first, point), evaluate(second, point)) for point in _points()]
    except Unreadable:
        return None
    if not (verdicts[0] and verdicts[1]):
        return False
    if _long_decimal(first) or _long_decimal(second):
        return False
    return all(verdicts) or None


def same_equation(gold: str, answer: str) -> bool | None:
    """Whether two equations have the same solutions up to a constant factor; None where that cannot be told."""
    sides = [*gold.split("="), *answer.split("=")]
    if len(sides) != 4:
        return None
    try:
        left, right, left2, right2 = (tokens(side) for side in sides)
        ratios = []
        for point in _points():
            first = evaluate(left, point) - evaluate(right, point)
            second = evaluate(left2, point) - evaluate(right2, point)
            if abs(first) < 1e-9 or abs(second) < 1e-9:
                return None
            ratios.append(first / second)
    except Unreadable:
        return None
    return all(_close(ratio, ratios[0]) for ratio in ratios)


def _points() -> list[Callable[[str], complex]]:
    return [lambda name, kind=kind, seed=seed: _value(name, kind, seed) for kind, seed in _SEEDS]


def _value(name: str, kind: str, seed: int) -> complex:
    numbers = random.Random(f"{name} {seed}")
    size = numbers.uniform(0.6, 1.9)
    if kind == "positive":
        return complex(size)
    if kind == "real":
        return complex(-size if name < "n" or numbers.random() < 0.5 else size)
    return cmath.rect(size, numbers.uniform(0.3, 2.8))


def _close(first: complex, second: complex) -> bool:
    return abs(first - second) <= _TOLERANCE * max(abs(first), abs(second))


def _long_decimal(expression: list[str]) -> bool:
    return any("." in token and len(token) > _MAX_DECIMALS for token in expression)
