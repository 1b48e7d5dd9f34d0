r"""Answers made of parts (points, intervals, sets, lists, unions, matrices), compared part by part."""

import re
from collections.abc import Callable

from mot_trl.rewards.math.intervals import builder_condition, read_interval, upright
from mot_trl.rewards.math.matrix import read_matrix
from mot_trl.rewards.math.parts import OPENINGS, Compound, scan, split

__all__ = ["Compound", "Same", "read_compound", "same_compound"]

_SEPARATOR = r"\s*,?\s*(?:\\text\s*\{{\s*,?\s*(?:{0})\s*\}}|(?<![A-Za-z\\])(?:{0})(?![A-Za-z]))\s*"
_OR, _AND = (re.compile(_SEPARATOR.format(word)) for word in ("or", "and"))
_NAME = (
    r"(?:\\[a-zA-Z]+\s*\{[a-zA-Z]{1,2}\}|[A-Z]\^\{?[0-9n]\}?|[a-zA-Z]{1,2}|\\[a-zA-Z]+)"
    r"(?:_\{?[0-9a-zA-Z]+\}?)?(?:\^\{?(?:-1|T)\}?)?(?:\([a-z]\))?"
)
_ASSIGNED = re.compile(rf"({_NAME})\s*=\s*(?![=\s])([^=]*)", re.DOTALL)
_TUPLE = re.compile(rf"\(({_NAME}(?:\s*[,;]\s*{_NAME})+)\)\s*=\s*(?![=\s])([^=]*)", re.DOTALL)
_POINT = re.compile(r"([A-Z])\s*(\([^()]+,[^()]+\))")
_CASES = re.compile(r"(?:\\\{)?\s*\\begin\{(cases|array)\}(?:\{[lcr ]+\})?(.*)\\end\{\1\}", re.DOTALL)
# `x=2 \quad y=5`
_NEXT = re.compile(rf"(?<=[0-9a-zA-Z)}}\]])\s+(?={_NAME}\s*=(?!=))")
# `x_1=2, x_2=3`: the values of one variable, in any order.
_NUMBERED = re.compile(r"([a-z])_[0-9],(?:\1_[0-9],?)+")
# `x \in (1,2)`: the set alone is the answer.
_MEMBER = re.compile(rf"(?:{_NAME}|\({_NAME}(?:\s*,\s*{_NAME})*\))\s*\\in(?![a-zA-Z])\s*")
# Unordered parts are paired by trying all, so their number bounds the time.
_MAX_PARTS = 24

Same = Callable[[str, str], bool | None]


def read_compound(text: str) -> "str | Compound":
    """The parts of a normalized `text`, or the text itself where it is one expression."""
    member = _MEMBER.match(text)
    text = upright(text[member.end() :] if member else text)
    readings = (read(text) for read in (read_matrix, _union, _builder, read_interval, _assigned, _list, _bracketed))
    return next((parts for parts in readings if parts is not None), text)


def same_compound(gold: "str | Compound", answer: "str | Compound", same: Same) -> bool | None:
    """Whether two readings agree, `same` judging the leaves; None where a leaf is undecided and no other differs."""
    if isinstance(gold, str) and isinstance(answer, str):
        return same(gold, answer)
    names = {side.style for side in (gold, answer) if isinstance(side, Compound) and side.kind == "named"}
    if names:
        values = (side.items[0] if isinstance(side, Compound) and side.kind == "named" else side
                  for side in (gold, answer))  # fmt: skip
        return len(names) == 1 and same_compound(*values, same)
    if isinstance(gold, str) or isinstance(answer, str) or not _comparable(gold, answer):
        return False
    if gold.kind == answer.kind == "unordered" or (gold.style == "set" and _NUMBERED.fullmatch(answer.style)):
        return _same_unordered(gold.items, answer.items, same)
    verdicts = set()
    for pair in zip(gold.items, answer.items, strict=True):
        verdicts.add(same_compound(*pair, same))
        # The rest could cost computer algebra.
        if False in verdicts:
            return False
    return None if None in verdicts else True


def _comparable(gold: Compound, answer: Compound) -> bool:
    if len(gold.items) != len(answer.items):
        return False
    if gold.kind == answer.kind:
        return gold.style == answer.style or gold.kind == "unordered"
    # `x = 3, y = -1` is the point `(3, -1)`, and a list of values in the order of the variables.
    if gold.style == "set" and _NUMBERED.fullmatch(answer.style):
        return True
    values = {(side.kind, side.style) for side in (gold, answer) if side.kind != "assigned"}
    return len(values) == 1 and values <= {("ordered", "()"), ("unordered", "list")}


def _same_unordered(golds: tuple, answers: tuple, same: Same) -> bool | None:
    left = list(answers)
    for gold in golds:
        verdicts = []
        for answer in left:
            verdicts.append(same_compound(gold, answer, same))
            # Equality is transitive, so the first partner found is as good as any.
            if verdicts[-1]:
                break
        else:
            return None if None in verdicts else False
        del left[len(verdicts) - 1]
    return True


def _union(text: str) -> str | Compound | None:
    pieces = split(text, r"\cup")
    return _unordered(pieces, "set") if len(pieces) > 1 else None


def _assigned(text: str) -> Compound | None:
    r"""`(x,y)=(3,-1)` and `x=3, y=-1` as their values by variable, `A=\begin{pmatrix}...` as a named value."""
    if match := _POINT.fullmatch(text):
        value = read_compound(match[2])
        return Compound("named", match[1], (value,)) if isinstance(value, Compound) else None
    if "=" not in text:
        return None
    if match := _CASES.fullmatch(text):
        text = ",".join(row.replace("&", "").strip(" ,;.") for row in split(match[2], "\\\\") if row)
    if match := _TUPLE.fullmatch(text):
        value = read_compound(match[2])
        names = [name.strip() for name in re.split("[,;]", match[1])]
        is_point = isinstance(value, Compound) and value.kind == "ordered" and len(value.items) == len(names)
        return _by_name(names, list(value.items)) if is_point and isinstance(value, Compound) else None
    pieces = [_ASSIGNED.fullmatch(piece) for piece in split(_NEXT.sub(" , ", _AND.sub(" , ", text)), ",", ";", "\\\\")]
    if len(pieces) > 1 and all(pieces):
        return _by_name(
            [match[1] for match in pieces if match], [read_compound(match[2]) for match in pieces if match]
        )
    if match := _ASSIGNED.fullmatch(text):
        value = read_compound(match[2])
        return Compound("named", match[1], (value,)) if isinstance(value, Compound) else None
    return None


def _by_name(names: list[str], values: "list[str | Compound]") -> Compound | None:
    # Several values of one variable are a list of solutions.
    if len(set(names)) < len(names) or len(names) > _MAX_PARTS:
        return None
    pairs = sorted(zip(names, values, strict=True), key=lambda pair: pair[0])
    return Compound("assigned", ",".join(name for name, _ in pairs), tuple(value for _, value in pairs))


def _list(text: str) -> str | Compound | None:
    # Alternatives first: in `x=1, y=2 or x=3, y=4` each is a whole.
    for pieces in (split(_OR.sub(" ; ", text), ";"), split(_AND.sub(" , ", text), ",")):
        if len(pieces) > 1:
            return _unordered(pieces, "list")
    signs = split(text, r"\pm")
    # `\mp` ties a second sign to the first: then the parts are not the two that one sign gives.
    if len(signs) != 2 or r"\mp" in text:
        return None
    return Compound("unordered", "list", tuple(f"{signs[0]} {sign} {signs[1]}".strip(" +") for sign in "+-"))


def _builder(text: str) -> Compound | None:
    condition = builder_condition(text)
    reading = None if condition is None else read_compound(condition)
    return reading if isinstance(reading, Compound) else None


def _bracketed(text: str) -> str | Compound | None:
    if not text.startswith(tuple(OPENINGS)):
        return None
    tokens = [match.group() for match, _ in scan(text)]
    if len(tokens) < 3 or tokens[-1] not in OPENINGS.values():
        return None
    opening, closing = tokens[0], tokens[-1]
    inner = text[len(opening) : -len(closing)].strip()
    pieces = split(inner, ",", ";")
    depths = [0, *(depth for _, depth in scan(inner))]
    # `(1,2)+(3,4)` begins and ends with brackets that are no pair.
    if min(depths) < 0 or depths[-1] > 0 or len(pieces) > _MAX_PARTS:
        return None
    if opening == r"\{" and closing == r"\}":
        # A set of one element counts as the element, but not where that is the empty set.
        return None if r"\emptyset" in pieces else _unordered(pieces, "set")
    if len(pieces) == 1:
        # Parentheses around one expression say nothing; brackets may mean the floor.
        return read_compound(inner) if opening + closing == "()" else None
    style = "()" if opening == r"\langle" else opening + closing
    return _rows(Compound("ordered", style, tuple(read_compound(piece) for piece in pieces)))


def _rows(parts: Compound) -> Compound:
    """`[[1,2],[3,4]]` as a matrix."""
    rows = [item.items for item in parts.items if isinstance(item, Compound) and item.style == parts.style == "[]"]
    if len(rows) < len(parts.items):
        return parts
    return Compound("matrix", "x".join(str(len(row)) for row in rows), tuple(cell for row in rows for cell in row))


def _unordered(pieces: list[str], style: str) -> str | Compound | None:
    if len(pieces) > _MAX_PARTS or not all(pieces):
        return None
    items: list[str | Compound] = []
    for piece in pieces:
        # A set among the parts dissolves into them: `x=1 or x=\pm 2` lists three.
        reading = read_compound(piece)
        items.extend(reading.items if isinstance(reading, Compound) and reading.kind == "unordered" else [reading])
    # A set of one element counts as the element.
    return Compound("unordered", style, tuple(items)) if len(items) > 1 else items[0]
