"""Read numbers in English words as fractions: `twenty-five`, `minus one and a half`, `two thirds`."""

import re
from fractions import Fraction
from itertools import pairwise

_ONES = dict(zip(["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"], range(1, 10), strict=True))
_TEENS = ["ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_SMALL = {
    "zero": 0, "a": 1, **_ONES, **dict(zip(_TEENS, range(10, 20), strict=True)),
    **dict(zip(_TENS, range(20, 100, 10), strict=True)),
}  # fmt: skip
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
# Fractions by their names.
PARTS = {"half": 2, "halves": 2, **{
    f"{name}{plural}": number for plural in ("", "s") for number, names in enumerate(
        ("third", "quarter fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"), start=3
    ) for name in names.split()
}, "hundredth": 100, "hundredths": 100, "thousandth": 1000, "thousandths": 1000}  # fmt: skip

_GAP = r"(?:\s+|\s*-\s*)"
_AND = rf"{_GAP}(?:and{_GAP})?"
_BELOW = rf"(?:(?:{'|'.join(_TENS)})(?:{_GAP}(?:{'|'.join(_ONES)}))?|{'|'.join([*_TEENS, *_ONES, 'zero'])})"
_GROUP = rf"(?:(?:(?:a|{_BELOW}){_GAP})?hundred(?:{_AND}{_BELOW})?|{_BELOW})"
_SCALED = rf"(?:(?:a|{_GROUP}){_GAP})?(?:{'|'.join(_SCALES)})s?"
_WHOLE = rf"(?:{_SCALED}(?:,?{_AND}{_SCALED})*(?:,?{_AND}{_GROUP})?|{_GROUP})(?![a-z])"
# `third` alone is a place in a row. Of digits, only those count that words belong to: `2 and a half`, `3 quarters`.
_PART = rf"(?:(?P<one>(?:(?:a|one){_GAP})?half)|(?P<count>{_WHOLE}|a|[0-9]{{1,9}}){_GAP}(?P<part>{'|'.join(PARTS)}))"
_MIXED = rf"(?P<whole>{_WHOLE}|[0-9]{{1,9}}(?={_GAP}and))"
_DECIMALS = rf"point(?P<decimals>(?:{_GAP}(?:zero|{'|'.join(_ONES)}))+)"
_AND_PART = rf"and{_GAP}{_PART.replace('?P<', '?P<and_')}"
_NUMBER = re.compile(
    rf"(?P<sign>(?:minus|negative){_GAP})?(?:{_PART}|{_MIXED}(?:{_GAP}(?:{_DECIMALS}|{_AND_PART}))?)"
    r"(?![a-z-])",
    re.I,
)


def read_number_words(text: str) -> tuple[Fraction, str] | None:
    """The number that `text` begins with in words, and what follows it; None where there is none."""
    match = _NUMBER.match(text)
    if match is None or match.group().isdigit():
        return None
    whole = match["whole"]
    value = _part(match["one"], match["count"], match["part"]) + _part(
        *match.group("and_one", "and_count", "and_part")
    )
    if whole:
        scales = [_SCALES[word.removesuffix("s")] for word in _words(whole) if word.removesuffix("s") in _SCALES]
        # Not `two thousand three million`.
        if any(first <= second for first, second in pairwise(scales)):
            return None
        value += _whole(whole)
    if match["decimals"]:
        value += Fraction(f"0.{''.join(str(_SMALL[word]) for word in _words(match['decimals']))}")
    return -value if match["sign"] else value, text[match.end() :]


def _part(one: str | None, count: str | None, part: str | None) -> Fraction:
    if one:
        return Fraction(1, 2)
    return Fraction(_whole(count), PARTS[part.lower()]) if count and part else Fraction(0)


def _whole(text: str) -> int:
    total = group = 0
    for word in _words(text):
        if word.isdigit() or word in _SMALL:
            group += int(_SMALL.get(word, word))
        elif word == "hundred":
            group = max(group, 1) * 100
        elif word != "and":
            total, group = total + max(group, 1) * _SCALES[word.removesuffix("s")], 0
    return total + group


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]+|[0-9]+", text.lower())
