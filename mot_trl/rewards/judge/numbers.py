"""Which answers a gold answer that is a plain number excludes, so that no judge can be talked into paying them."""

import re
import unicodedata
from fractions import Fraction

_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|(?<![\w.])[-+]?\.\d+|\d+(?:\.\d+)?")
_PLAIN = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?", re.ASCII)
_SCALE_WORDS = re.compile(r"%|percent|hundred|thousand|million|billion|trillion|dozen|\bscore\b|\bk\b", re.IGNORECASE)
_SCALES = tuple(Fraction(scale) for scale in ("1", "1/100", "12", "20", "1e2", "1e3", "1e6", "1e9", "1e12"))
_PART_WORDS = re.compile(r"\b(?:hal(?:f|ves)|thirds?|quarters?|fourths?|fifths?|tenths?)\b", re.IGNORECASE)
_UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_NUMBER_WORDS = {word: value for value, word in enumerate(_UNITS.split())} | {
    word: 10 * value for value, word in enumerate(_TENS.split(), start=2)
}
_WORD = re.compile(r"[^\W\d_]+")


def rules_out(gold: str, answer: str) -> bool:
    """Whether a plain number `gold` excludes `answer`: it names another number, or no number at all.

    In digits or in English words. Beside a word of scale ("1.2 million", "40%") a number may stand for its multiple,
    and parts ("three quarters") may be the gold where it is no integer; what stays possible is left to the judge.
    """
    wanted = _plain_number(gold)
    if wanted is None:
        return False
    folded = unicodedata.normalize("NFKC", answer).replace("{,}", ",")
    if wanted.denominator != 1 and _PART_WORDS.search(folded):
        return False
    scales = _SCALES if _SCALE_WORDS.search(folded) else _SCALES[:1]
    numbers = [Fraction(found.replace(",", "")) for found in _NUMBER.findall(folded)] or _numbers_in_words(folded)
    return not numbers or any(all(number * scale != wanted for scale in scales) for number in numbers)


def _numbers_in_words(text: str) -> list[Fraction]:
    """The numbers below a hundred that the text spells out: "twenty-five" is one of them, "five twenty" two."""
    numbers: list[Fraction] = []
    last = 0
    for word in _WORD.findall(text.lower()):
        value = _NUMBER_WORDS.get(word)
        if value is not None and numbers and last >= 20 and 0 < value < 10:
            numbers[-1] += value
        elif value is not None:
            numbers.append(Fraction(value))
        last = value or 0
    return numbers


def _plain_number(text: str) -> Fraction | None:
    text = text.strip().removeprefix("$")
    return Fraction(text.replace(",", "")) if len(text) < 100 and _PLAIN.fullmatch(text) else None
