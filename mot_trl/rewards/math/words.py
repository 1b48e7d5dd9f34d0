r"""Answers in words, and the units behind expressions: what in a LaTeX text is language rather than mathematics."""

import re

_COMMAND = re.compile(r"\\[a-zA-Z]+")
_CHOICE = re.compile(r"\(([A-Za-z])\)|([A-Z])(?=[).:]|$)")
_UNIT = re.compile(
    r"(?P<expression>.*[0-9a-zA-Z)}\]])\s*(?P<unit>\\text\s*\{[^{}]*\}(?:\s*\^\s*\{?\s*[0-9]\s*\}?)?"
    r"|(?<=[ })])[a-z]{2,}\.?(?: [a-z]{2,}\.?){0,3}(?:\s*\^\s*\{?[0-9]\}?)?|%)"
)


def has_words(text: str) -> bool:
    r"""Whether a normalised `text` holds language: `\text{...}`, four letters in a row, or nothing but letters."""
    plain = _COMMAND.sub(" ", text)
    return r"\text" in text or bool(re.search(r"[A-Za-z]{4,}", plain) or re.fullmatch(r"[A-Za-z]{2,3}", text))


def same_words(gold: str, answer: str) -> bool:
    """Whether two texts say the same words, whatever their case, spacing and punctuation.

    A gold that is one letter, as of a multiple choice, also equals that letter in parentheses with the choice's text
    behind.
    """
    first, second = _plain(gold), _plain(answer)
    letter = _CHOICE.match(answer.replace(r"\text", "").strip("{} "))
    chosen = bool(letter and len(first) == 1 and (letter.group(1) or letter.group(2)).lower() == first)
    return bool(first) and (first == second or chosen)


def split_unit(text: str) -> tuple[str, str]:
    r"""The expression and the unit of a text such as `12\pi \text{ cm}^2`; the unit is "" where there is none."""
    match = _UNIT.fullmatch(text)
    # The letter of `a point` is an article, not a value with a unit.
    if match is None or re.fullmatch(r"[A-Za-z]+", match["expression"].strip()):
        return text, ""
    return match["expression"].strip(), match["unit"]


def _plain(text: str) -> str:
    text = re.sub(r"\\text(?![a-zA-Z])", "", text).casefold()
    text = re.sub(r"^[\s{]*(?:the|an|a)\s+", "", text)
    return re.sub(r"[\s{}().,;:'\"!?-]+", "", text)
