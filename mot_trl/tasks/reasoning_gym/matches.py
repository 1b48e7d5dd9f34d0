"""Compare an answer with the only right one: as text, number, list, board, or within a tolerance."""

import re
from decimal import Decimal
from fractions import Fraction

from mot_trl.tasks.reasoning_gym.readers import board, canonical, listed, number, numbers, seconds, tidy

_FRACTION = re.compile(
    r"\$*\s*(?:\\d?frac\s*\{\s*(\d+)\s*\}\s*\{\s*(\d+)\s*\}|(\d+)(?:\s*/\s*(\d+))?)\s*\$*", re.ASCII
)


def same(answer: str, gold: str, *, fold: bool = False) -> bool:
    """Whether two texts are the same but for white space and, with `fold`, letter case; or one number, or one list."""
    texts = [tidy(text).casefold() if fold else tidy(text) for text in (answer, gold)]
    if texts[0] == texts[1]:
        return True
    values = [number(text) for text in texts]
    if values[1] is not None:
        return values[0] == values[1]
    lists = [listed(text) for text in texts]
    return None not in lists and canonical(lists[0], quoted=True) == canonical(lists[1], quoted=True)


def close(answer: str, gold: str, tolerance: Decimal) -> bool:
    """Whether two numbers differ by no more than `tolerance`, nor by more than a hundredth of the gold."""
    value, right = number(answer), number(gold)
    # Where golds may be as small as the tolerance, 0 would be close to all of them.
    return value is not None and right is not None and abs(value - right) <= min(tolerance, abs(right) / 100)


def all_close(answer: str, gold: str, tolerance: str) -> bool:
    """Whether numbers between commas, in their order, differ by no more than `tolerance` from those of the gold."""
    values, right = numbers(answer), numbers(gold)
    if values is None or right is None or len(values) != len(right):
        return False
    return all(abs(a - b) <= Decimal(tolerance) for a, b in zip(values, right, strict=True))


def same_roots(answer: str, gold: str) -> bool:
    """Whether the numbers, in any order, are the gold's to four decimals; a gold of none is written as quotes."""
    if not gold.strip():
        return answer.strip() in ('""', "''")
    values, right = numbers(answer), numbers(gold)
    if values is None or right is None or len(values) != len(right):
        return False
    return all(abs(a - b) <= Decimal("0.0001") for a, b in zip(sorted(values), sorted(right), strict=True))


def same_probability(answer: str, gold: str) -> bool:
    """Whether two fractions or decimals differ by no more than 1e-4, nor by more than a hundredth of the gold."""
    # Of long exponents, `Fraction` would compute every digit.
    if re.search(r"[eE][+-]?\d{4}", answer):
        return False
    value, right = Fraction(re.sub(r" ?/ ?", "/", answer)), Fraction(gold)
    return abs(value - right) <= min(Fraction(1, 10_000), abs(right) / 100)


def same_duration(answer: str, gold: str) -> bool:
    """Whether two durations are the same, to a millisecond; days may come without a unit where they come alone."""
    bare = re.fullmatch(r"-?\d+ days?", gold.strip()) and re.fullmatch(r"-?\d+", answer.strip(), re.ASCII)
    value, right = seconds(f"{answer.strip()} days" if bare else answer), seconds(gold)
    return value is not None and right is not None and abs(value - right) <= Decimal("0.001")


def same_fraction(answer: str, numerator: int, denominator: int) -> bool:
    r"""Whether a fraction, as `1/2` or `\frac{1}{2}`, has this numerator and denominator."""
    match = _FRACTION.fullmatch(answer.strip())
    if not match:
        return False
    parts = [part for part in match.groups() if part]
    return [int(part) for part in parts] == [numerator, denominator][: len(parts)] and (
        len(parts) > 1 or denominator == 1
    )


def same_factors(answer: str, factors: list[int]) -> bool:
    """Whether the numbers between signs of multiplication are the factors, in any order."""
    parts = [number(part) for part in re.split(r"[\u00d7*\u00b7x]", answer)]
    read = sorted(part for part in parts if part is not None)
    return len(read) == len(parts) and read == sorted(factors)


def same_board(answer: str, gold: str, tolerance: str) -> bool:
    """Whether two boards have the same shape, and numbers that differ by no more than `tolerance`."""
    boards = [[[number(word) for word in row] for row in board(text)] for text in (answer, gold)]
    if [len(row) for row in boards[0]] != [len(row) for row in boards[1]]:
        return False
    pairs = [pair for rows in zip(*boards, strict=True) for pair in zip(*rows, strict=True)]
    return all(a is not None and b is not None and abs(a - b) <= Decimal(tolerance) for a, b in pairs)


def listed_text(answer: str, between: str) -> str | None:
    """The text of a list: its items, or those of its rows, with `between` between them and rows on lines."""
    items = listed(answer)
    if items is None:
        return None
    if items and all(isinstance(row, list) for row in items):
        return "\n".join(between.join(map(str, row)) for row in items)
    return between.join(map(str, items))
