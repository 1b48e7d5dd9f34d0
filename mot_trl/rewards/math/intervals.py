r"""Read inequalities and set-builder notation as intervals: `1 < x \le 3` is `(1, 3]`, `x \ne 2` is a union of two."""

import re
from itertools import pairwise

from mot_trl.rewards.math.parts import Compound, split
from mot_trl.rewards.math.quantity import read_quantity

_ORDER = re.compile(r"(<=|>=|<|>|\\le(?![a-zA-Z])|\\ge(?![a-zA-Z]))")
_GREATER = (">", ">=", r"\ge")
_NAME = r"(?:[a-zA-Z]|\\theta|\\alpha|\\lambda)"
_VARIABLE = re.compile(_NAME)
_UNEQUAL = re.compile(rf"({_NAME})\s*\\ne(?![a-zA-Z])(.+)")
_DISTANCE = re.compile(rf"\|\s*{_NAME}\s*([+-][^|]+)?\|\s*(<=|>=|<|>|\\le(?![a-zA-Z])|\\ge(?![a-zA-Z]))\s*([^|<>]+)")
_REAL_NUMBERS = r"\\mathbb\s*\{?\s*R\s*\}?"
_REALS = re.compile(rf"{_REAL_NUMBERS}(?:\s*(?:\\setminus|\\backslash|-)\s*\\\{{(?P<holes>[^{{}}]*)\\\}})?")
_BUILDER = re.compile(
    rf"\\\{{\s*({_NAME})\s*(?:\\in\s*(?:{_REAL_NUMBERS}|R)\s*)?[|:](?P<condition>.*)\\\}}", re.DOTALL
)
_BOTH = re.compile(r"\s*,?\s*(?:\\text\s*\{\s*and\s*\}|(?<![A-Za-z\\])and(?![A-Za-z]))\s*")


def builder_condition(text: str) -> str | None:
    r"""The condition of a set of reals such as `\{x \mid x > 2\}`, or None."""
    match = _BUILDER.fullmatch(text)
    return match["condition"].strip() if match else None


def read_interval(text: str) -> Compound | None:
    """The interval or union that a condition on one variable describes; None where `text` is no such condition."""
    if reals := _REALS.fullmatch(text):
        return _without(split(reals["holes"], ",", ";") if reals["holes"] else [])
    pieces = _BOTH.split(text)
    unequal = [_UNEQUAL.fullmatch(piece) for whole in pieces for piece in split(whole, ",")]
    if all(unequal) and len({match[1] for match in unequal if match}) == 1:
        return _without([match[2].strip() for match in unequal if match])
    if distance := _DISTANCE.fullmatch(text):
        return _around(*distance.groups())
    chains = [chain for piece in pieces if (chain := _chain(piece))]
    if len(chains) < len(pieces) or len(chains) > 2:
        return None
    return chains[0][1] if len(chains) == 1 else _intersection(*chains)


def _around(middle: str | None, sign: str, radius: str) -> Compound:
    r"""The interval of `|x - middle| < radius`, or what is outside of it."""
    # What follows the variable moves the middle the other way.
    middle = f"-({middle})" if middle else ""
    low, high = f"{middle}-({radius})", f"{middle}+({radius})"
    is_open = sign in "<>"
    if sign not in _GREATER:
        return Compound("ordered", "()" if is_open else "[]", (low, high))
    sides = ((r"-\infty", low, "()" if is_open else "(]"), (high, r"\infty", "()" if is_open else "[)"))
    return Compound("unordered", "set", tuple(Compound("ordered", style, (start, end)) for start, end, style in sides))


def _chain(text: str) -> tuple[str, Compound] | None:
    """The variable and the interval of an inequality that bounds one variable."""
    pieces = [piece.strip() for piece in _ORDER.split(text)]
    terms, signs = pieces[::2], pieces[1::2]
    directions = {sign in _GREATER for sign in signs}
    if len(signs) not in (1, 2) or len(directions) > 1 or "," in text:
        return None
    if directions == {True}:
        terms, signs = terms[::-1], signs[::-1]
    if len(terms) == 2:
        below = _VARIABLE.fullmatch(terms[0])
        terms, signs = ([r"-\infty", *terms], ["<", *signs]) if below else ([*terms, r"\infty"], [*signs, "<"])
    if not _VARIABLE.fullmatch(terms[1]):
        return None
    brackets = ["()"[side] if sign in ("<", ">") else "[]"[side] for side, sign in enumerate(signs)]
    return terms[1], Compound("ordered", "".join(brackets), (terms[0], terms[2]))


def _intersection(first: tuple[str, Compound], second: tuple[str, Compound]) -> Compound | None:
    """What `x > 2 and x < 5` leaves: the lower end of one side and the upper of the other."""
    (name, lower), (also_name, upper) = first, second
    if lower.items[1] != r"\infty":
        lower, upper = upper, lower
    if name != also_name or lower.items[1] != r"\infty" or upper.items[0] != r"-\infty":
        return None
    return Compound("ordered", lower.style[0] + upper.style[1], (lower.items[0], upper.items[1]))


def _without(holes: list[str]) -> Compound | None:
    """The real line without some points, of which several must be numbers, so that they can be sorted."""
    if len(holes) > 1:
        values = [read_quantity(hole) for hole in holes]
        if None in values:
            return None
        holes = [hole for _, hole in sorted(zip(values, holes, strict=True))]
    ends = [r"-\infty", *holes, r"\infty"]
    pieces = tuple(Compound("ordered", "()", pair) for pair in pairwise(ends))
    return pieces[0] if len(pieces) == 1 else Compound("unordered", "set", pieces)
