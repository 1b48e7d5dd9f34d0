r"""Read inequalities and set-builder notation as intervals: `1 < x \le 3` is `(1, 3]`, `x \ne 2` is a union of two."""

import re
from itertools import pairwise

from mot_trl.rewards.math.parts import Compound, split
from mot_trl.rewards.math.quantity import Quantity, read_quantity

_ORDER = re.compile(r"(<=|>=|<|>|\\le(?![a-zA-Z])|\\ge(?![a-zA-Z]))")
_GREATER = (">", ">=", r"\ge")
_NAME = r"(?:[a-zA-Z]|\\theta|\\alpha|\\lambda)"
_VARIABLE = re.compile(_NAME)
_UNEQUAL = re.compile(rf"({_NAME})\s*\\(?:ne(?![a-zA-Z])(.+)|notin\s*\\\{{(.+)\\\}})")
_DISTANCE = re.compile(rf"\|\s*{_NAME}\s*([+-][^|]+)?\|\s*(<=|>=|<|>|\\le(?![a-zA-Z])|\\ge(?![a-zA-Z]))\s*([^|<>]+)")
_REAL_NUMBERS = r"\\mathbb\s*\{?\s*R\s*\}?"
_HOLES = r"\s*(?:\\setminus|\\backslash|-)\s*\\\{(?P<holes>.*)\\\}"
_REALS = re.compile(rf"{_REAL_NUMBERS}(?:{_HOLES})?")
_PUNCTURED = re.compile(rf"(?P<interval>[(\[].*[)\]]){_HOLES}")
_INTERVAL = re.compile(r"([(\[])([^,;]+)[,;]([^,;]+)([)\]])")
# Elsewhere than in English, an open end is a bracket that is turned around: `]0,1]`.
_TURNED = re.compile(r"([\[\]])([^\[\](),;]+[,;][^\[\](),;]+)([\[\]])")
_BUILDER = re.compile(
    rf"\\\{{\s*({_NAME})\s*(?:\\in\s*(?:{_REAL_NUMBERS}|R)\s*)?[|:](?P<condition>.*)\\\}}", re.DOTALL
)
_ALL = Compound("ordered", "()", (r"-\infty", r"\infty"))
_BOTH = re.compile(r"\s*,?\s*(?:\\text\s*\{\s*and\s*\}|(?<![A-Za-z\\])and(?![A-Za-z]))\s*")


def builder_condition(text: str) -> str | None:
    r"""The condition of a set of reals such as `\{x \mid x > 2\}`, or None."""
    match = _BUILDER.fullmatch(text)
    return match["condition"].strip() if match else None


def upright(text: str) -> str:
    """`text` with parentheses for the open ends of intervals such as `]0,1]`."""
    if "]" not in text and "[" not in text:
        return text
    return _TURNED.sub(lambda match: match[1].replace("]", "(") + match[2] + match[3].replace("[", ")"), text)


def read_interval(text: str) -> Compound | None:
    """The interval or union that a condition on one variable describes; None where `text` is no such condition."""
    if reals := _REALS.fullmatch(text):
        return _without(_ALL, split(reals["holes"], ",", ";") if reals["holes"] else [])
    if text.endswith(r"\}") and (punctured := _PUNCTURED.fullmatch(text)):
        match = _INTERVAL.fullmatch(punctured["interval"])
        base = match and Compound("ordered", match[1] + match[4], (match[2].strip(), match[3].strip()))
        return _without(base, split(punctured["holes"], ",", ";")) if base else None
    if distance := _DISTANCE.fullmatch(text):
        return _around(*distance.groups())
    return _condition([split(piece, ",") for piece in _BOTH.split(text)])


def _condition(pieces: list[list[str]]) -> Compound | None:
    r"""What is left of the real line by bounds and by `x \ne 2`, which hold together."""
    names, holes, chains = set(), [], []
    for piece in (part for parts in pieces for part in parts):
        if unequal := _UNEQUAL.fullmatch(piece):
            names.add(unequal[1])
            holes += split(unequal[2] or unequal[3], ",", ";")
        elif holes and read_quantity(piece):
            # `x \ne 0, 1`
            holes.append(piece)
        elif chain := _chain(piece):
            names.add(chain[0])
            chains.append(chain)
        else:
            return None
    # Without holes, bounds between commas are a list of solutions.
    if len(names) != 1 or len(chains) > 2 or not (holes or all(len(parts) == 1 for parts in pieces)):
        return None
    base = _ALL if not chains else chains[0][1] if len(chains) == 1 else _intersection(*chains)
    return _without(base, holes) if base else None


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


def _without(base: Compound, holes: list[str]) -> Compound | None:
    """An interval without some points; those that must be put in order must be numbers."""
    values = [read_quantity(hole) for hole in holes]
    low, high = (read_quantity(end) for end in base.items if isinstance(end, str))
    bounded = [end for end in base.items if str(end).lstrip("+") not in (r"-\infty", r"\infty")]
    if (None in values and (len(holes) > 1 or bounded)) or len(bounded) > sum(end is not None for end in (low, high)):
        return None
    inside = [hole for value, hole in sorted(zip(values, holes, strict=True)) if _is_inside(value, low, high)]
    opening = "(" if low in values else base.style[0]
    closing = ")" if high in values else base.style[1]
    ends = [*pairwise([base.items[0], *inside, base.items[1]])]
    styles = [f"{opening if at == 0 else '('}{closing if at == len(inside) else ')'}" for at in range(len(ends))]
    pieces = tuple(Compound("ordered", style, pair) for style, pair in zip(styles, ends, strict=True))
    return pieces[0] if len(pieces) == 1 else Compound("unordered", "set", pieces)


def _is_inside(value: Quantity | None, low: Quantity | None, high: Quantity | None) -> bool:
    return value is None or ((low is None or low.value < value.value) and (high is None or value.value < high.value))
