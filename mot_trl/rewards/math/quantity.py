"""Read numbers with units exactly, as fractions: `1,080`, `-1 1/2`, `7e4`, `50%`, `18 dollars`, `two thirds`."""

import re
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from mot_trl.rewards.math.number_words import PARTS, read_number_words

_DIGITS = r"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,3}(?: [0-9]{3})+(?![0-9])|[0-9]+)"
_DECIMAL = rf"(?:{_DIGITS}(?:\.[0-9]*)?|\.[0-9]+)"
_HEDGE = (
    r"\\(?:approx|simeq|sim)(?![a-zA-Z])\s*|~\s*|(?i:approximately|approx\.?|about|around|roughly|exactly)\s+"
    r"|\\text\s*\{\s*\}\s*"
)
_CURRENCY = r"\$|\\dollar(?![a-z])|\\pounds|€|¥|₹|\\euro|USD|EUR|GBP|Rs\.?|US\s*\$"
_FRACTION = rf"\\frac\{{\s*(?P<sign>[+-]?)\s*(?P<top>{_DECIMAL})\s*\}}\s*\{{\s*(?P<bottom>{_DECIMAL})\s*\}}"
_RATIO = rf"(?P<top2>{_DECIMAL})\s*/\s*(?P<bottom2>{_DECIMAL})"
_WHOLE = r"(?P<whole>[0-9]+)\s*(?:\+\s*)?(?=\\frac)|(?P<whole2>[0-9]+)\s+(?=[0-9]+\s*/)"
_EXPONENT = r"[+-]?[0-9]{1,3}"
_POWER = rf"\s*(?:\\cdot|\*|x)\s*10\s*\^\s*\{{?\s*(?P<power>{_EXPONENT})\s*\}}?|[eE](?P<power2>{_EXPONENT})(?![0-9])"
# Digits that repeat for ever; in parentheses only right behind the point, since `0.5(3)` may be a product.
_REPEAT = r"\\overline\{(?P<repeat>[0-9]{1,18})\}|(?<=\.)\((?P<repeat2>[0-9]{1,18})\)"
_NUMBER = re.compile(
    rf"(?:{_HEDGE})?(?P<outer>[+-]?)\s*(?P<currency>{_CURRENCY})?\s*(?P<inner>[+-]?)\s*"
    rf"(?:(?:{_WHOLE})?(?:{_FRACTION}|{_RATIO})|(?P<decimal>{_DECIMAL}|\.(?=\\overline))(?:{_REPEAT}|{_POWER})?)\s*"
)
_SIGNS = {
    "%": "percent", r"\text{percent}": "percent", "$": "dollar", r"\dollar": "dollar", "USD": "dollar",
    "US$": "dollar", r"\pounds": "pound", "GBP": "pound", "€": "euro", r"\euro": "euro", "EUR": "euro", "¥": "yen",
    "₹": "rupee", "Rs": "rupee", "Rs.": "rupee", r"\Omega": "ohm", "Ω": "ohm", "¢": "cent",
}  # fmt: skip
_MULTIPLIERS = {"dozen": 12, "hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_SYNONYMS = {
    "usd": "dollar", "cents": "cent", "centimeter": "cm", "centimetre": "cm", "millimeter": "mm", "millimetre": "mm",
    "meter": "m", "metre": "m", "kilometer": "km", "kilometre": "km", "inche": "inch", "in": "inch", "feet": "foot",
    "ft": "foot", "yd": "yard", "mi": "mile", "gram": "g", "milligram": "mg", "kilogram": "kg", "kilo": "kg",
    "lb": "pound", "lbs": "pound", "ounce": "oz", "second": "s", "sec": "s", "minute": "min", "hour": "h", "hr": "h",
    "litre": "l", "liter": "l", "milliliter": "ml", "millilitre": "ml", "deg": "degree", "°": "degree",
    "mph": "mile per h", "kph": "km per h", "kmh": "km per h", "sq": "square", "radian": "rad", "pct": "percent",
    "percentage": "percent", "/": "per", "people": "person", "children": "child", "men": "man", "women": "woman",
}  # fmt: skip
_SHORT_UNITS = {"m", "g", "s", "h", "l", "cm", "mm", "km", "kg", "mg", "ml", "in", "ft", "yd", "mi", "oz", "lb", "lbs",
                "hr", "min", "sec", "mph", "kph", "rad", "deg", "cc", "st", "nd", "rd", "th"}  # fmt: skip
# `18 N` is a force, but `18M` no length: of single capitals, those that no small one stands for.
_CAPITALS = {"L", "N", "J", "W", "V"}
_LONG_UNITS = {*_SYNONYMS, *_SYNONYMS.values()}
# Words after a number that change its meaning, or hedge.
_NOT_UNITS = {
    "and", "or", "not", "nor", "no", "than", "plus", "minus", "over", "to", "but", "if", "either", "maybe",
    "between", "unless", "except", "is", "are", "was", "factorial", "mod", "modulo", *PARTS, "squared", "cubed",
    "from", "by", "base", "point", "divided", "multiplied", "wrong", "incorrect", "negative", "zero", "one",
    "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "twenty",
    "thirty", "forty", "fifty", "past", "possibly", "perhaps",
}  # fmt: skip
_FILLERS = {"of", "the", "total", "approx", "approximately", "about", "roughly", "exactly"}
_BASES = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10}
_BASED = re.compile(r"([0-9A-Fa-f]+)_\{?(?:\\text\{)?\s*([0-9]{1,2}|[a-z]+)\s*\}{0,2}")
# The article in `18 a day` is no factor, and the preposition in `$18 in total` no inch.
_ARTICLE = re.compile(r"an? [A-Za-z]{3,}")
_PREPOSITION = re.compile(r"in [A-Za-z]{3,}")
# `half a million`, where `$18 a dozen` is a price.
_OF_MANY = re.compile(rf"^\s+(?:of\s+)?an?\s+(?=(?:{'|'.join(_MULTIPLIERS)})\b)", re.I)
_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_PARENTHESES = re.compile(r"\(\s*([A-Za-z][A-Za-z0-9./^ -]*)\)")
_UNIT_WORD = re.compile(
    r"(?:\\text\s*\{)?\s*([A-Za-z][A-Za-z.'-]*|/|°)\s*\}?\s*(?:\^\s*\{?\s*(-?[0-9])\s*\}?)?\s*\}?\s*"
)


class Quantity(NamedTuple):
    """An exact number (a percentage counts hundredths) and its unit's words in one spelling, "" without a unit."""

    value: Fraction
    unit: str = ""


@lru_cache(maxsize=4096)
def read_quantity(text: str) -> Quantity | None:
    """The quantity that the whole of a normalized `text` states, or None where it states anything else."""
    if based := _BASED.fullmatch(text):
        digits, base = based.groups()
        # Digits are compared as they stand: nothing is converted, so hexadecimal letters are left to other rules.
        return Quantity(Fraction(int(digits)), f"base {_BASES.get(base, base)}") if digits.isdigit() else None
    if match := _NUMBER.match(text):
        currency = _SIGNS[re.sub(r"\s", "", match["currency"])] if match["currency"] else ""
        unit = read_unit(text[match.end() :], adjacent=not match.group().endswith(" "))
        if quantity := _quantity(_value(match), unit, currency):
            return quantity
    if in_words := read_number_words(_TEXT.sub(r"\1", text).strip()):
        value, rest = in_words
        return _quantity(value, read_unit(_OF_MANY.sub(" ", rest)))
    return None


def _quantity(value: Fraction | None, unit: str | None, currency: str = "") -> Quantity | None:
    if value is None or unit is None:
        return None
    words = unit.split()
    if words and words[0] in _MULTIPLIERS:
        value, words = value * _MULTIPLIERS[words[0]], words[1:]
    if currency and "percent" in words:
        return None
    if currency and currency not in words:
        words = [currency, *words]
    if words == ["percent"]:
        value /= 100
    return Quantity(value, " ".join(words))


def same_quantity(gold: Quantity, answer: Quantity) -> bool:
    """Whether two quantities agree: values exactly, and units where both have one.

    A percentage equals its hundredths; if only the gold has the percent sign, the bare number is right, too. The
    answer may leave out a number's base, but not add one.
    """
    if "percent" in (gold.unit, answer.unit):
        bare = gold.unit == "percent" and not answer.unit and answer.value == gold.value * 100
        return bare or (gold.value == answer.value and {gold.unit, answer.unit} <= {"percent", ""})
    if answer.unit.startswith("base ") and gold.unit != answer.unit:
        return False
    return gold.value == answer.value and same_unit(gold.unit, answer.unit)


def same_unit(gold: str | None, answer: str | None) -> bool:
    """Whether two units as `read_unit` spells them agree; a missing unit agrees with all."""
    if not gold or not answer:
        return True
    first, second = set(gold.split()), set(answer.split())
    # `5 red apples` is right for `5 apples`, but `5 square m` is not for `5 m`.
    is_plain = not (first | second) & {"per", "2", "3", "square", "cubic"}
    return gold == answer or (is_plain and (first < second or second < first))


def _value(match: re.Match[str]) -> Fraction | None:
    if match["outer"] and match["inner"]:
        return None
    value: Fraction | None
    if repeat := match["repeat"] or match["repeat2"]:
        value = _repeating(match["decimal"], repeat)
    elif match["decimal"]:
        # Powers of ten have three digits at most: `1e999999999` must not become a number of a billion digits.
        value = _decimal(match["decimal"]) * Fraction(10) ** int(match["power"] or match["power2"] or 0)
    else:
        top, bottom = _decimal(match["top"] or match["top2"]), _decimal(match["bottom"] or match["bottom2"])
        whole = match["whole"] or match["whole2"]
        # `3 \frac{4}{3}` may be a product: only a proper fraction makes a mixed number.
        if bottom == 0 or (whole and (match["sign"] or top >= bottom)):
            return None
        value = (top / bottom + int(whole or 0)) * (-1 if match["sign"] == "-" else 1)
    return -value if value is not None and "-" in (match["outer"], match["inner"]) else value


def _repeating(decimal: str, repeat: str) -> Fraction | None:
    _, point, digits = decimal.partition(".")
    value = _decimal(decimal) + Fraction(int(repeat), 10 ** len(digits) * (10 ** len(repeat) - 1))
    # A bar over a whole number is no decimal.
    return value if point else None


def _decimal(digits: str) -> Fraction:
    return Fraction(digits.replace(",", "").replace(" ", "").rstrip(".") or "0")


def read_unit(text: str, *, adjacent: bool = False) -> str | None:
    """A unit's words in one spelling, "" for no text, None where `text` is no unit.

    Right behind a number, `adjacent`, a word such as the `x` of `5x` is a factor.
    """
    text = text.strip()
    # ASDiv writes `9 (apples)`.
    adjacent = adjacent and not text.startswith("(")
    text = _PARENTHESES.sub(r" \1 ", text).strip()
    if text in _SIGNS:
        return _SIGNS[text]
    text = text.replace(r"\dollar", "dollar")
    words: list[str] = []
    position = 0
    while position < len(text):
        match = _UNIT_WORD.match(text, position)
        if match is None or len(words) > 6:
            return None
        word = match.group(1)
        # Inside `\text{two words}` only the first is preceded by the command.
        is_text = r"\text" in text[: match.start(1)]
        # `5x` and `5 x` are products, `5 xylophones` is a quantity.
        may_multiply = len(word) == 1 or (adjacent and position == 0)
        is_unit = _is_known(word.rstrip(".")) or _ARTICLE.match(text, match.start(1))
        if (not is_text and may_multiply and not is_unit) or word.rstrip(".").lower() in _NOT_UNITS:
            return None
        if not _PREPOSITION.match(text, match.start(1)):
            words += [*spelled(word), *([match.group(2)] if match.group(2) else [])]
        position = match.end()
    power = {"square": "2", "cubic": "3"}.get(words[0]) if len(words) > 1 else None
    return " ".join([*words[1:], power] if power else words)


def _is_known(word: str) -> bool:
    # Of the words with a synonym, those that no product of variables spells.
    if len(word) == 1 and word.isupper():
        return word in _CAPITALS
    word = word.lower()
    return word in {*_SHORT_UNITS, "/", "°"} or (len(word) > 3 and word.removesuffix("s") in _LONG_UNITS)


def spelled(word: str) -> list[str]:
    """A unit's word in one spelling, singular and abbreviated where it has an abbreviation."""
    word = word.lower().replace(".", "")
    if word in _FILLERS:
        return []
    if word in ("a", "an", "every"):
        return ["per"]
    word = _SYNONYMS.get(word, word)
    # The plural, but not `glass`.
    if len(word) > 2 and word.endswith("s") and not word.endswith("ss"):
        word = word[:-1]
    return _SYNONYMS.get(word, word).split()
