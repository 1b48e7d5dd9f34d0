r"""Answers made of parts (points, intervals, sets, lists, unions, matrices), compared part by part."""

import re
from collections.abc import Callable
from typing import NamedTuple

_OPENINGS = {"(": ")", "[": "]", r"\{": r"\}", r"\langle": r"\rangle"}
_MATRIX = re.compile(r"\\begin\{([pbBvV]?matrix|array)\}(?:\{[lcr| ]*\})?(.*)\\end\{\1\}", re.DOTALL)
_SCAN = re.compile(r"\\(?:\\|[a-zA-Z]+|.)|.", re.DOTALL)
_AND = re.compile(r"\s*,?\s*(?:\\text\s*\{\s*,?\s*(?:and|or)\s*\}|(?<![A-Za-z\\])(?:and|or)(?![A-Za-z]))\s*")
_MEMBER = re.compile(r"[a-zA-Z]\s*\\in(?![a-zA-Z])\s*")
_ORDER = re.compile(r"(<=|>=|<|>|\\le(?![a-zA-Z])|\\ge(?![a-zA-Z]))")
_VARIABLE = re.compile(r"[a-zA-Z]|\\theta|\\alpha|\\lambda")
_MAX_PARTS = 24


class Parts(NamedTuple):
    """A compound answer: `kind` is `ordered`, `unordered` or `matrix`; `style` must agree (brackets, row lengths)."""

    kind: str
    style: str
    items: "tuple[str | Parts, ...]"


def read_parts(text: str) -> "str | Parts":
    """The parts of a normalised `text`, or the text itself where it is one expression."""
    text = _MEMBER.sub("", text, count=1) if _MEMBER.match(text) else text
    for read in (_matrix, _union, _interval, _list, _bracketed):
        parts = read(text)
        if parts is not None:
            return parts
    return text


def same_parts(gold: "str | Parts", answer: "str | Parts", same: Callable[[str, str], bool | None]) -> bool | None:
    """Whether two readings agree, `same` judging the leaves; None where a leaf is undecided and no other differs.

    Unordered parts agree when they can be paired one to one.
    """
    gold, answer = _single(gold), _single(answer)
    if isinstance(gold, str) and isinstance(answer, str):
        return same(gold, answer)
    if isinstance(gold, str) or isinstance(answer, str):
        return False
    if gold.kind != answer.kind or gold.style != answer.style or len(gold.items) != len(answer.items):
        return False
    if gold.kind == "unordered":
        return _same_unordered(gold.items, answer.items, same)
    verdict: bool | None = True
    for first, second in zip(gold.items, answer.items, strict=True):
        part = same_parts(first, second, same)
        if part is False:
            return False
        verdict = None if part is None else verdict
    return verdict


def _same_unordered(golds: tuple, answers: tuple, same: Callable[[str, str], bool | None]) -> bool | None:
    # Equality is transitive, so the first partner found is as good as any.
    left = list(answers)
    for gold in golds:
        verdicts = []
        for answer in left:
            verdicts.append(same_parts(gold, answer, same))
            if verdicts[-1]:
                break
        if not verdicts[-1]:
            return None if None in verdicts else False
        left.pop(len(verdicts) - 1)
    return True


def _single(parts: "str | Parts") -> "str | Parts":
    while isinstance(parts, Parts) and parts.kind == "unordered" and len(parts.items) == 1:
        parts = parts.items[0]
    return parts


def split_top(text: str, separators: tuple[str, ...]) -> list[str]:
    """`text` split at `separators` outside every bracket; a half-open interval's brackets count as a pair."""
    pieces, start, depth = [], 0, 0
    for match in _SCAN.finditer(text):
        token = match.group()
        if token in _OPENINGS or token == "{":
            depth += 1
        elif token in _OPENINGS.values() or token == "}":
            depth -= 1
        elif depth == 0 and token in separators:
            pieces.append(text[start : match.start()].strip())
            start = match.end()
    return [*pieces, text[start:].strip()]


def _matrix(text: str) -> Parts | None:
    match = _MATRIX.fullmatch(text.strip())
    if match is None:
        return None
    rows = [row for row in split_top(match.group(2), ("\\\\",)) if row]
    cells = [split_top(row, ("&",)) for row in rows]
    shape = "x".join(str(len(row)) for row in cells)
    kind = "determinant" if match.group(1) in ("vmatrix", "Vmatrix") else ""
    return Parts("matrix", f"{kind}{shape}", tuple(cell for row in cells for cell in row))


def _union(text: str) -> Parts | None:
    pieces = split_top(text, (r"\cup",))
    return _unordered(pieces) if len(pieces) > 1 else None


def _list(text: str) -> Parts | None:
    pieces = split_top(_AND.sub(" , ", text), (",", ";"))
    if len(pieces) == 1:
        signs = split_top(text, (r"\pm",))
        if len(signs) != 2 or r"\mp" in text:
            return None
        return Parts("unordered", "", tuple(f"{signs[0]} {sign} {signs[1]}".strip(" +") for sign in "+-"))
    return _unordered(pieces)


def _interval(text: str) -> Parts | None:
    """`1 < x \\le 3` as `(1, 3]`; None where `text` is no inequality that bounds one variable."""
    pieces = [piece.strip() for piece in _ORDER.split(text)]
    if len(pieces) not in (3, 5) or "," in text:
        return None
    signs = [sign.replace("<=", r"\le").replace(">=", r"\ge") for sign in pieces[1::2]]
    terms = pieces[::2]
    if all(sign in (">", r"\ge") for sign in signs):
        terms, signs = terms[::-1], [{">": "<", r"\ge": r"\le"}[sign] for sign in signs[::-1]]
    if not all(sign in ("<", r"\le") for sign in signs):
        return None
    if len(terms) == 2 and _VARIABLE.fullmatch(terms[0]):
        terms, signs = [r"-\infty", *terms], ["<", *signs]
    elif len(terms) == 2 and _VARIABLE.fullmatch(terms[1]):
        terms, signs = [*terms, r"\infty"], [*signs, "<"]
    if len(terms) != 3 or not _VARIABLE.fullmatch(terms[1]):
        return None
    style = ("(" if signs[0] == "<" else "[") + (")" if signs[1] == "<" else "]")
    return Parts("ordered", style, (terms[0], terms[2]))


def _bracketed(text: str) -> Parts | None:
    scanned = [(match.group(), match.start(), match.end()) for match in _SCAN.finditer(text)]
    if len(scanned) < 3 or scanned[0][0] not in _OPENINGS or scanned[-1][0] not in _OPENINGS.values():
        return None
    opening, closing = scanned[0][0], scanned[-1][0]
    inner = text[scanned[0][2] : scanned[-1][1]].strip()
    if not _is_balanced(inner):
        return None
    pieces = split_top(inner, (",", ";"))
    if len(pieces) > _MAX_PARTS:
        return None
    if opening == r"\{" and closing == r"\}":
        return _unordered(pieces)
    if len(pieces) == 1:
        # Parentheses around one expression say nothing; brackets may mean the floor.
        reading = read_parts(inner) if (opening, closing) == ("(", ")") else None
        return Parts("unordered", "", (reading,)) if reading is not None else None
    style = "()" if opening == r"\langle" else opening + closing
    return Parts("ordered", style, tuple(read_parts(piece) for piece in pieces))


def _unordered(pieces: list[str]) -> Parts | None:
    if len(pieces) > _MAX_PARTS or not all(pieces):
        return None
    items: list[str | Parts] = []
    for piece in pieces:
        reading = read_parts(piece)
        items.extend(reading.items if isinstance(reading, Parts) and reading.kind == "unordered" else [reading])
    return Parts("unordered", "", tuple(items))


def _is_balanced(text: str) -> bool:
    depth = 0
    for match in _SCAN.finditer(text):
        token = match.group()
        depth += (token in _OPENINGS or token == "{") - (token in _OPENINGS.values() or token == "}")
        if depth < 0:
            return False
    return depth == 0
