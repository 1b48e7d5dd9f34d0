"""What a question asks for: a percentage, or a unit that its answer may add or must not."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from mot_trl.rewards.answer import completion_text
from mot_trl.rewards.math.quantity import spelled

_NUMBER_WORDS = (
    "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|[a-z]+teen|twenty|thirty|forty|fifty|sixty"
    "|seventy|eighty|ninety|hundred|thousand|half|quarter"
)
# `20 percent`, `twenty-five percent`, `x\%`: a given percentage, not one that is asked for.
_GIVEN = r"(?<![0-9)}$])(?<![0-9)}$]\s)(?<![0-9)}$]-)(?<!\b[b-hj-z]\s)(?<!\b[b-hj-z])"
_WORDS = rf"(?:(?!\b(?:{_NUMBER_WORDS}|if|when|that|who|whose|after|given)\b)[^.?!,;%]){{0,60}}?"
_PERCENT = rf"{_GIVEN}(?:\bpercent(?:age)?s?\b|\bper\s?cent\b|\bpct\b|\\%|(?<!\\)%)"
_ASKS_PERCENT = re.compile(
    rf"\b(?:what|which|find|calculate|compute|determine|nearest|how much)\b{_WORDS}{_PERCENT}"
    rf"|\b(?:as|in|how many)\s+(?:an?\s+|the\s+|terms of\s+)?{_PERCENT}|_\s*\\?%",
    re.I,
)
# Its answer is a percentage if it is above 1.
_ASKS_CHANCE = re.compile(
    r"\b(?:what|find|calculate|determine|how)\b(?:\s+(?!many|much)[a-z']+){0,4}?"
    r"\s+(?:odds|chances?|likely|likelihood|probability|(?:interest|tax|growth|inflation|discount|success|error)\s+rate)\b",
    re.I,
)
_ABOVE_ONE = re.compile(r"[1-9][0-9]+(?:\.[0-9]+)?|[2-9](?:\.[0-9]+)?|1\.[0-9]*[1-9]")
_PERCENT_SIGN = re.compile(r"\s*(?:\\?%|\\text\s*\{\s*(?:percent|\\?%)\s*\}|\bpercent)[\s.$]*$", re.I)
# Nouns that multiply, or divide, what they count.
_MULTIPLIERS = r"(dozen|quarter|hundred|thousand|million|billion|trillion)s?\b"
_ASKS_MULTIPLE = re.compile(rf"\b(?:how many|in(?: the)?|number of)\s+(?:more\s+)?{_MULTIPLIERS}", re.I)

# Units by what they measure, and the other words by which a question speaks of it.
_KINDS = {
    "money": (
        "dollar cent euro yen rupee pound",
        r"cost|price|pay|paid|spen[dt]|earn|money|worth|salar|wage|profit|bill|sell|sold|buy|bought|charge|budget"
        r"|sav(?:e|ing)|tax|tip|revenue|income|owe|debt|loan|fee|invest",
    ),
    "length": (
        "cm mm m km inch foot yard mile",
        r"long|length|tall|height|high|far|distance|wide|width|depth|deep|radi|diameter|perimeter|circumference|side"
        r"|area|volume|travel|run|walk|drive|speed|fast",
    ),
    "time": (
        "s min h day week month year decade century",
        r"old|age|long|time|when|duration|take|last|speed|rate|born|fast",
    ),
    "mass": ("g kg mg oz pound ton", r"weigh|heav|mass"),
    "volume": ("l ml gallon quart pint", r"volume|liquid|water|milk|juice|capacity|drink|tank|pour|fill"),
    "angle": (
        "degree rad",
        r"angle|triang|polygon|rotat|arc|\\circ|turn|phase|direction|temperature|hot|cold|warm",
    ),
}
_UNITS = {kind: set(units.split()) for kind, (units, _) in _KINDS.items()}
_SPEAKS_OF = {kind: re.compile(words, re.I) for kind, (_, words) in _KINDS.items()}
_NEVER_COUNTED = set().union(*(_UNITS[kind] for kind in ("money", "length", "time", "angle")))
_MIN_WORDS = 4
_ASKED = re.compile(r"\b(?:in|nearest|number of|how much)\s+(?:total\s+|whole\s+|us\s+)?([a-z]+)", re.I)
# With room for `more` or `square`.
_COUNTED = re.compile(r"\bhow many(?:\s+of(?:\s+(?:the|these|those))?(?:\s+[0-9,.]+)?)?((?:\s+[a-z]+){1,3})", re.I)
# One letter is a unit behind a number alone, and so is `in`; `second` alone may be an ordinal.
_WORD = re.compile(
    r"(?<![a-z'\u2019])(?!in\b|second\b)[a-z]{2,}|(?<=[0-9])\s?(?:[mgshl]|in)\b|[$€£¥₹¢°]|\\circ|(?<=[0-9])\"", re.I
)
_SIGNS = {
    '"': "inch", "¢": "cent", "$": "dollar", "€": "euro", "£": "pound", "¥": "yen", "₹": "rupee", "°": "degree",
    r"\circ": "degree",
}  # fmt: skip


def question_text(prompt: str | Sequence[Mapping[str, Any]] | None) -> str:
    """The question in a text, or in messages, of which the user's last one asks it; "" for None."""
    if prompt is None or isinstance(prompt, str):
        return prompt or ""
    return completion_text(
        [{"content": message.get("content")} for message in prompt if message.get("role") == "user"]
    )


@lru_cache(maxsize=4096)
def asks_for_percent(question: str) -> bool:
    """Whether a question asks for a percentage, so that a percent sign in the answer is its unit.

    A percentage that is given, as in `What is 20 percent of 50?`, asks for none.
    """
    return _ASKS_PERCENT.search(question) is not None


def without_asked_unit(gold: str, answer: str, question: str) -> tuple[str, str]:
    """Both without the percent sign, or the `million`, that the question asks to count in."""
    # A gold that has the sign itself is met by the bare number, and by hundredths.
    if _PERCENT_SIGN.search(answer) and not _PERCENT_SIGN.search(gold):
        is_chance = _ABOVE_ONE.fullmatch(gold) is not None and _ASKS_CHANCE.search(question) is not None
        if is_chance or asks_for_percent(question):
            return gold, _PERCENT_SIGN.sub("", answer)
    if asked := _ASKS_MULTIPLE.search(question):
        noun = re.compile(rf"(?:\s|\\text\s*\{{\s*)*\b{asked[1]}s?\b", re.I)
        return noun.sub("", gold), noun.sub("", answer)
    return gold, answer


@lru_cache(maxsize=4096)
def may_have_unit(unit: str, question: str) -> bool:
    """Whether the answer to a question whose gold has no unit may add `unit`, as `read_unit` spells it.

    A measure must be the one that is asked for (`How many cents?`), else one that the question mentions, else of a
    kind that it speaks of. All other words, such as `apples`, may be added, and a text too short to be a question
    forbids nothing.
    """
    words = [word.strip() for word in _WORD.findall(question)]
    if len(words) < _MIN_WORDS:
        return True
    counted = [word for match in _COUNTED.findall(question) for word in match.split() if word != "in"]
    asked = {name for word in [*_ASKED.findall(question), *counted] for name in spelled(word)}
    mentioned = {name for word in words for name in ([_SIGNS[word]] if word in _SIGNS else spelled(word))}
    # Prices in cents add up to dollars.
    mentioned |= {"dollar"} if "cent" in mentioned else set()
    measured = set(unit.partition(" per ")[0].split())
    # No count is a percentage, and `How many apples?` is answered by no measure, but perhaps by a weight or a volume.
    counts_things = counted and not any(asked & units for units in _UNITS.values())
    if counted and ("percent" in measured or (counts_things and measured & _NEVER_COUNTED)):
        return False
    return all(_may_measure(kind, measured, asked, mentioned, question) for kind in _KINDS if measured & _UNITS[kind])


def _may_measure(kind: str, measured: set[str], asked: set[str], mentioned: set[str], question: str) -> bool:
    units = _UNITS[kind]
    # A pound is money or a mass.
    if any(measured & mentioned & others for other, others in _UNITS.items() if other != kind):
        return True
    if known := asked & units or (mentioned & units if kind != "time" else set()):
        return bool(measured & known)
    # Days are mentioned in passing, so hours may be meant.
    return bool(mentioned & units) or _SPEAKS_OF[kind].search(question) is not None
