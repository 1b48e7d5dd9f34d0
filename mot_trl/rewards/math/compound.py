r"""Answers made of parts (points, intervals, sets, lists, unions, matrices), compared part by part."""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

_OPENINGS = {"(": ")", "[": "]", r"\{": r"\}", r"\langle": r"\rangle"}
_CLOSINGS = {*_OPENINGS.values(), "}"}
_MATRIX = re.compile(r"\\begin\{([pbBvV]?matrix|array)\}(?:\{[lcr| ]*\})?(.*)\\end\{\1\}", re.DOTALL)
_SCAN = re.compile(r"\\(?:\\|[a-zA-Z]+|.)|.", re.DOTALL)
_AND = re.compile(r"\s*,?\s*(?:\\text\s*\{\s*,?\s*(?:and|or)\s*\}|(?<![A-Za-z\\])(?:and|or)(?![A-Za-z]))\s*")
# `x \in (1,2)`: the set alone is the answer.
_MEMBER = re.compile(r"[a-zA-Z]\s*\\in(?![a-zA-Z])\s*")
_ORDER = re.compile(r"(<=|>=|<|>|\\le(?![a-zA-Z])|\\ge(?![a-zA-Z]))")
_GREATER = (">", ">=", r"\ge")
_VARIABLE = re.compile(r"[a-zA-Z]|\\theta|\\alpha|\\lambda")
# Unordered parts are paired by trying all, so their number bounds the time.
_MAX_PARTS = 24


class Compound(NamedTuple):
    """An answer of several parts; `kind` is `ordered`, `unordered` or `matrix`.

    `style` is what must agree besides the parts: the brackets, or a matrix's row lengths.
    """

    kind: str
    style: str
    items: "tuple[str | Compound, ...]"


Same = Callable[[str, str], bool | None]


def read_compound(text: str) -> "str | Compound":
    """The parts of a normalized `text`, or the text itself where it is one expression."""
    member = _MEMBER.match(text)
    text = text[member.end() :] if member else text
    readings = (read(text) for read in (_matrix, _union, _interval, _list, _bracketed))
    return next((parts for parts in readings if parts is not None), text)


def same_compound(gold: "str | Compound", answer: "str | Compound", same: Same) -> bool | None:
    """Whether two readings agree, `same` judging the leaves; None where a leaf is undecided and no other differs."""
    if isinstance(gold, str) and isinstance(answer, str):
        return same(gold, answer)
    if isinstance(gold, str) or isinstance(answer, str):
        return False
    if gold.kind != answer.kind or gold.style != answer.style or len(gold.items) != len(answer.items):
        return False
    if gold.kind == "unordered":
        return _same_unordered(gold.items, answer.items, same)
    verdicts = set()
    for pair in zip(gold.items, answer.items, strict=True):
        verdicts.add(same_compound(*pair, same))
        # The rest could cost computer algebra.
        if False in verdicts:
            return False
    return None if None in verdicts else True


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


def _scan(text: str) -> Iterator[tuple[re.Match[str], int]]:
    """The tokens of `text`, each with the depth of brackets behind it; any two make a pair, as in `(0, 1]`."""
    depth = 0
    for match in _SCAN.finditer(text):
        depth += (match.group() in _OPENINGS or match.group() == "{") - (match.group() in _CLOSINGS)
        yield match, depth


def _split(text: str, *separators: str) -> list[str]:
    """`text` split at `separators` outside every bracket."""
    pieces, start = [], 0
    for match, depth in _scan(text):
        if depth == 0 and match.group() in separators:
            pieces.append(text[start : match.start()].strip())
            start = match.end()
    return [*pieces, text[start:].strip()]


def _matrix(text: str) -> Compound | None:
    match = _MATRIX.fullmatch(text.strip())
    if match is None:
        return None
    rows = [_split(row, "&") for row in _split(match.group(2), "\\\\") if row]
    shape = "x".join(str(len(row)) for row in rows)
    # Bars make a number of the same entries.
    kind = "determinant" if match.group(1) in ("vmatrix", "Vmatrix") else ""
    return Compound("matrix", f"{kind}{shape}", tuple(cell for row in rows for cell in row))


def _union(text: str) -> str | Compound | None:
    pieces = _split(text, r"\cup")
    return _unordered(pieces) if len(pieces) > 1 else None


def _interval(text: str) -> Compound | None:
    r"""`1 < x \le 3` as `(1, 3]`; None where `text` is no inequality that bounds one variable."""
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
    return Compound("ordered", "".join(brackets), (terms[0], terms[2]))


def _list(text: str) -> str | Compound | None:
    pieces = _split(_AND.sub(" , ", text), ",", ";")
    if len(pieces) > 1:
        return _unordered(pieces)
    signs = _split(text, r"\pm")
    # `\mp` ties a second sign to the first: then the parts are not the two that one sign gives.
    if len(signs) != 2 or r"\mp" in text:
        return None
    return Compound("unordered", "", tuple(f"{signs[0]} {sign} {signs[1]}".strip(" +") for sign in "+-"))


def _bracketed(text: str) -> str | Compound | None:
    tokens = _SCAN.findall(text)
    if len(tokens) < 3 or tokens[0] not in _OPENINGS or tokens[-1] not in _OPENINGS.values():
        return None
    opening, closing = tokens[0], tokens[-1]
    inner = text[len(opening) : -len(closing)].strip()
    pieces = _split(inner, ",", ";")
    depths = [0, *(depth for _, depth in _scan(inner))]
    # `(1,2)+(3,4)` begins and ends with brackets that are no pair.
    if min(depths) < 0 or depths[-1] > 0 or len(pieces) > _MAX_PARTS:
        return None
    if opening == r"\{" and closing == r"\}":
        return _unordered(pieces)
    if len(pieces) == 1:
        # Parentheses around one expression say nothing; brackets may mean the floor.
        return read_compound(inner) if opening + closing == "()" else None
    style = "()" if opening == r"\langle" else opening + closing
    return Compound("ordered", style, tuple(read_compound(piece) for piece in pieces))


def _unordered(pieces: list[str]) -> str | Compound | None:
    if len(pieces) > _MAX_PARTS or not all(pieces):
        return None
    items: list[str | Compound] = []
    for piece in pieces:
        # A set among the parts dissolves into them: `x=1 or x=\pm 2` lists three.
        reading = read_compound(piece)
        items.extend(reading.items if isinstance(reading, Compound) and reading.kind == "unordered" else [reading])
    # A set of one element counts as the element.
    return Compound("unordered", "", tuple(items)) if len(items) > 1 else items[0]
