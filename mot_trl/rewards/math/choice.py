r"""Multiple choice: `(B) 12`, `\text{B}` and `B. a word` choose B, and a gold `(B) 12` is met by its value, too."""

import re
from typing import NamedTuple

# A letter that stands for a choice is marked as one, unless it is the whole answer.
_CHOICE = re.compile(
    r"(?:\\text\s*\{\s*)?(?:(?:option|choice|answer)\s*)?"
    r"(?:\(\s*(?P<round>[A-J])\s*\)|\[\s*(?P<square>[A-J])\s*\]|(?P<bare>[A-J])(?=\s*[).:]|\s*\}?\s*$))"
    r"\s*[).:]*\s*(?P<close>\}?)\s*[).:]*\s*(?P<value>.*)",
    re.DOTALL | re.I,
)
# Another choice behind the first: `(B) 12 (C) 13`, `(B) or C`.
_MARKED = re.compile(r"[(\[]\s*[A-J]\s*[)\]]|(?<![A-Za-z\\])[A-J]\s*[).:]|(?:\band\b|\bor\b|,)[\s}]*[A-J](?![A-Za-z])")


class Choice(NamedTuple):
    """The chosen letter, a capital, and what is written behind it, "" for nothing."""

    letter: str
    value: str


def read_choice(text: str) -> Choice | None:
    """The one choice that a normalized `text` names; None where it names none, or several."""
    match = _CHOICE.fullmatch(text)
    if match is None or _MARKED.search(match["value"]):
        return None
    letter = match["round"] or match["square"] or match["bare"]
    value = match["value"].strip()
    # What began inside of `\text{` ends there.
    is_open = text.startswith(r"\text") and not match["close"]
    return Choice(letter.upper(), value.removesuffix("}") if is_open else value)


def read_gold_choice(text: str) -> Choice | None:
    """The choice of a normalized gold; a small letter alone, such as `e` or `i`, is a variable or a constant."""
    choice = read_choice(text)
    is_capital = choice is not None and choice.letter in text[: len(text) - len(choice.value)]
    return choice if is_capital else None
