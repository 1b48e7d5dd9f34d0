r"""Read a dataset's gold answer: text, any kind of number, a whole solution, or a list of alternatives."""

import math
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from fractions import Fraction
from numbers import Rational, Real
from typing import Any

from mot_trl.rewards.answer import ANSWER_OPEN, final_answer

_MARKS = (r"\boxed", r"\fbox", "####", ANSWER_OPEN)
# What NuminaMath and tables write where there is no answer.
_NO_ANSWER = frozenset({"", "proof", "notfound", "not found", "nan", "null", "none given", "n/a"})
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")
# More words than an answer has: a solution, of which only a stated answer can be used.
_MAX_WORDS = 20
_STATED = re.compile(r".*\banswer\s*(?:is|:)+\s*([^\n]+)", re.I | re.DOTALL)


def read_golds(gold: Any) -> list[str]:
    r"""The texts that are right answers each; empty where `gold` holds none.

    Args:
        gold: A text; of a solution, the answer in the last `\boxed{}`, `<answer>` or behind `####` counts. Or an int,
            float, Decimal, Fraction or one of NumPy's numbers; a float that is a fraction's counts as that, too. Or an
            iterable of such, any of which is right. None, truth values, NaN and everything else hold no gold.
    """
    if isinstance(gold, str):
        text = _answer_in(gold.strip())
        return [] if text.casefold() in _NO_ANSWER else [text]
    if isinstance(gold, Decimal):
        return [f"{gold:f}"] if gold.is_finite() else []
    # True would become the text "True", which is a word and no mathematics.
    if isinstance(gold, Real) and not isinstance(gold, bool):
        return _number(gold)
    if isinstance(gold, Iterable) and not isinstance(gold, Mapping | bytes):
        return [text for item in gold for text in read_golds(item)]
    return []


def _answer_in(text: str) -> str:
    # JSON of a struct.
    if text.startswith('{"'):
        return ""
    if any(mark in text for mark in _MARKS):
        return final_answer(text) or ""
    if len(_WORD.findall(text)) <= _MAX_WORDS:
        return text
    stated = _STATED.match(text)
    return stated[1].strip() if stated else ""


def _number(gold: Real) -> list[str]:
    if isinstance(gold, Rational):
        return [str(Fraction(int(gold.numerator), int(gold.denominator)))]
    value = float(gold)
    if not math.isfinite(value):
        return []
    if value.is_integer():
        return [str(int(value))]
    # Of a double 15 digits are sure: the sum of 0.1 and 0.2 is 0.3. NumPy's shorter floats know their own digits.
    text = f"{value:.15g}" if isinstance(gold, float) else str(gold)
    fraction = Fraction(value).limit_denominator(10_000)
    is_fraction = len(text) > 15 and float(fraction) == value
    return [text, str(fraction)] if is_fraction else [text]
