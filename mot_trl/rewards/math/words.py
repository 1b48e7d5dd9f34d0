r"""Text answers, and units behind expressions: the parts of a LaTeX answer that are language, not mathematics."""

import re

_COMMAND = re.compile(r"\\[a-zA-Z]+")
_UNIT = re.compile(
    r"(?P<expression>.*[0-9a-zA-Z)}\]])\s*(?P<unit>\\text\s*\{[^{}]*\}(?:\s*\^\s*\{?\s*[0-9]\s*\}?)?"
    r"|(?<=[ })])[a-z]{2,}\.?(?: [a-z]{2,}\.?){0,3}(?:\s*\^\s*\{?[0-9]\}?)?|%)"
)


def has_words(text: str) -> bool:
    r"""Whether a normalized `text` holds language: `\text{...}`, four letters in a row, or nothing but letters."""
    # Three letters may be a product of variables, `abc`; four hardly ever are.
    plain = _COMMAND.sub(" ", text)
    return r"\text" in text or bool(re.search(r"[A-Za-z]{4,}", plain) or re.fullmatch(r"[A-Za-z]{2,3}", text))


def same_words(gold: str, answer: str) -> bool:
    """Whether two texts have the same words, up to case, spacing and punctuation."""
    first, second = _plain(gold), _plain(answer)
    # The hyphens inside of words do not count, but a sign in front does.
    return bool(first) and first == second and gold.strip().startswith("-") == answer.strip().startswith("-")


def split_unit(text: str) -> tuple[str, str]:
    r"""The expression and the unit of a text such as `12\pi \text{ cm}^2`; the unit is "" where there is none."""
    match = _UNIT.fullmatch(text)
    # In `a point` the letter is an article, not a value with a unit.
    if match is None or re.fullmatch(r"[A-Za-z]+", match["expression"].strip()):
        return text, ""
    return match["expression"].strip(), match["unit"]


def _plain(text: str) -> str:
    text = re.sub(r"\\text(?![a-zA-Z])", "", text).casefold()
    text = re.sub(r"^[\s{]*(?:the|an|a)\s+", "", text)
    text = re.sub(r"[\s{}().,;:'\"!?-]+", "", text)
    return "doesnotexist" if text == "dne" else text
