r"""Compare the leaves of two answers: numbers with units, times, words, equations and expressions of one value."""

import re
from fractions import Fraction

from mot_trl.rewards.math.clock import read_clock, same_clock
from mot_trl.rewards.math.limits import is_computable
from mot_trl.rewards.math.math_verify import verify
from mot_trl.rewards.math.normalize import key
from mot_trl.rewards.math.numeric import constant, same_equation, same_expression
from mot_trl.rewards.math.quantity import read_quantity, read_unit, same_quantity, same_unit
from mot_trl.rewards.math.words import has_words, same_words, split_unit

_ASSIGNED = re.compile(
    r"((?:[a-zA-Z]|\\[a-zA-Z]+)(?:_\{?[0-9a-zA-Z]+\}?)?(?:\([a-z]\)|\^\{-1\}\([a-z]\))?)\s*=\s*(?!=)"
)
_SYMBOL = re.compile(r"\\(?:infty|emptyset)(?![a-zA-Z])")
_MONEY = re.compile(r"^(?:\$|\\dollar|\\pounds|€)\s*")
_DEGREES = r"\text{ degrees}"


def same_at_sight(gold: str, answer: str) -> bool | None:
    """The verdict on two times of day, two numbers, or two texts of one spelling; None on anything else."""
    # Most numbers need no look.
    hour, also_hour = (None if text.isdigit() else read_clock(text) for text in (gold, answer))
    if hour and also_hour:
        return same_clock(hour, also_hour)
    # `3:20` may be a ratio, which `3/20` is, too, but nothing is a ratio to zero, and no ratio comes in the afternoon.
    if (hour and ":" in gold and hour.is_sharp) or (also_hour and ":" in answer and also_hour.half):
        return False
    first, second = read_quantity(gold), read_quantity(answer)
    if first and second:
        return same_quantity(first, second)
    return True if key(gold) == key(answer) else None


def near_leaf(gold: str, answer: str, tolerance: float, timeout: float | None) -> bool | None:
    """Whether two numbers differ by `tolerance` at most and have the same unit, or else are the same expression."""
    (value, unit), (also_value, also_unit) = _number(gold), _number(answer)
    if value is None or also_value is None:
        return same_leaf(gold, answer, timeout)
    return same_unit(unit, also_unit) and abs(value - also_value) <= Fraction(repr(tolerance))


def _number(text: str) -> tuple[Fraction | None, str]:
    """The value and the unit of a number or of a constant expression."""
    if quantity := read_quantity(text):
        return quantity.value, quantity.unit
    expression, unit = expression_and_unit(text)
    value = constant(expression.rpartition("=")[2])
    return None if value is None else Fraction(value), unit


def same_leaf(gold: str, answer: str, timeout: float | None) -> bool | None:
    """Whether two normalized texts of one value each are equal; None where that cannot be told of the gold.

    Args:
        timeout: Seconds for computer algebra, None for none of it.
    """
    gold, answer = gold.strip().removeprefix("+"), answer.strip().removeprefix("+")
    if (verdict := same_at_sight(gold, answer)) is not None:
        return verdict
    # A number in another base is a number; what is not one of the same base is not the same.
    if any(quantity and quantity.unit.startswith("base ") for quantity in map(read_quantity, (gold, answer))):
        return False
    (number, unit), (also_number, also_unit) = (expression_and_unit(text) for text in (gold, answer))
    # The unit stays on: `5 apples` against `five apples` is compared as words on the whole.
    if has_words(number) or has_words(also_number):
        return same_words(gold, answer)
    # A percentage of an expression is its hundredth; only the gold's own sign may be left out.
    if also_unit == "percent" != unit:
        return False
    if not same_unit(unit, also_unit):
        return False
    if "=" in number or "=" in also_number:
        return _same_relation(number, also_number, timeout)
    # These are symbols, equal to their own spelling alone, and that has been compared.
    if _SYMBOL.search(number + also_number):
        return False
    verdict = same_expression(number, also_number)
    if verdict is not None or timeout is None:
        return bool(verdict)
    return is_computable(number) and is_computable(also_number) and verify(number, also_number, timeout=timeout)


def expression_and_unit(text: str) -> tuple[str, str]:
    """An expression and its unit, as `read_unit` spells it; words that are no unit stay with the expression."""
    # Each term of `30^\\circ + 180^\\circ n` has the unit.
    text = _MONEY.sub("", text)
    if text.count(_DEGREES) > text.endswith(_DEGREES):
        return text.replace(_DEGREES, " "), "degree"
    expression, words = split_unit(text)
    unit = read_unit(words)
    return (text, "") if unit is None else (expression, unit)


def _same_name(gold: str, answer: str) -> bool:
    """Whether two sides are named alike; `y` is the usual name of a function's value."""
    return gold == answer or ("y" in (gold, answer) and any(name.endswith(")") for name in (gold, answer)))


def _same_relation(gold: str, answer: str, timeout: float | None) -> bool | None:
    """Equations; a variable's assignment on one side alone counts as its value, as in `x = 5` against `5`."""
    assigned, also_assigned = _ASSIGNED.match(gold), _ASSIGNED.match(answer)
    value = answer[also_assigned.end() :] if also_assigned else answer
    if assigned and also_assigned and _same_name(key(assigned.group(1)), key(also_assigned.group(1))):
        return same_leaf(gold[assigned.end() :], value, timeout)
    if assigned and "=" not in answer:
        return same_leaf(gold[assigned.end() :], answer, timeout)
    if "=" not in gold:
        # `x = 2 + 3 = 5`: every link must hold, or `7 = 5` would be paid for 5.
        return all(same_leaf(gold, link, timeout) for link in value.split("="))
    return bool(same_equation(gold, answer))
