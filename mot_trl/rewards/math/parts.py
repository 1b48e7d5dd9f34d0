"""An answer's parts, and LaTeX split at separators that stand outside every bracket."""

import re
from collections.abc import Iterator
from typing import NamedTuple

OPENINGS = {"(": ")", "[": "]", r"\{": r"\}", r"\langle": r"\rangle"}
_CLOSINGS = {*OPENINGS.values(), "}"}
_SCAN = re.compile(r"\\(?:\\|[a-zA-Z]+|.)|.", re.DOTALL)


class Compound(NamedTuple):
    """An answer of several parts; `kind` is `ordered`, `unordered`, `matrix`, `assigned` or `named`.

    `style` is what must agree besides the parts: the brackets, a matrix's row lengths, the variables that the parts
    are assigned to (in the order of the alphabet), or the one that the whole is. Lists and sets differ in style alone.
    """

    kind: str
    style: str
    items: "tuple[str | Compound, ...]"


def scan(text: str) -> Iterator[tuple[re.Match[str], int]]:
    """The tokens of `text`, each with the depth of brackets behind it; any two make a pair, as in `(0, 1]`."""
    depth = 0
    for match in _SCAN.finditer(text):
        depth += (match.group() in OPENINGS or match.group() == "{") - (match.group() in _CLOSINGS)
        yield match, depth


def split(text: str, *separators: str) -> list[str]:
    """`text` split at `separators` outside every bracket."""
    if not any(separator in text for separator in separators):
        return [text.strip()]
    pieces, start = [], 0
    for match, depth in scan(text):
        if depth == 0 and match.group() in separators:
            pieces.append(text[start : match.start()].strip())
            start = match.end()
    return [*pieces, text[start:].strip()]
