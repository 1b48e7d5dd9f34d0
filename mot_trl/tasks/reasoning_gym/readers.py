"""Read an answer in full, or not at all: what follows, precedes or contradicts a value makes it unreadable."""

import json
import re
from decimal import Decimal
from typing import Any

from mot_trl.rewards.math.limits import nesting_depth

_MAX_DEPTH = 30
_NUMBER = re.compile(r"[+-]?(?:\d{1,3}(?:,\d{3})+(?:\.\d*)?|\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
_DURATION = re.compile(
    r"(?P<sign>-?)(?:(?P<days>\d+) days?)?(?:(?:^|(?<=\d)|,\s*|\s+)(?P<hours>\d+):(?P<minutes>[0-5]\d)"
    r"(?::(?P<seconds>[0-5]\d(?:\.\d{1,6})?))?)?",
    re.ASCII,
)


def tidy(text: str) -> str:
    """A text without blank lines, and with single spaces between words."""
    return "\n".join(" ".join(line.split()) for line in text.splitlines() if line.strip())


def number(text: str) -> Decimal | None:
    """One number, perhaps with separators of thousands or an exponent, of at most three digits."""
    text = text.strip().replace("\u2212", "-")
    return Decimal(text.replace(",", "")) if _NUMBER.fullmatch(text) else None


def numbers(text: str) -> list[Decimal] | None:
    """Numbers between commas, perhaps in parentheses, perhaps of degrees."""
    text = text.strip()
    inner = text[1:-1] if text.startswith("(") and text.endswith(")") else text
    found = [number(part.strip().removesuffix("\u00b0")) for part in inner.split(",")]
    read = [value for value in found if value is not None]
    return read if len(read) == len(found) else None


def seconds(text: str) -> Decimal | None:
    """The seconds of a duration: `3 days`, `3 days, 04:05`, `04:05:06.789`."""
    match = _DURATION.fullmatch(tidy(text))
    if not match or not (match["days"] or match["hours"]):
        return None
    hours = int(match["days"] or 0) * 24 + int(match["hours"] or 0)
    whole = Decimal((hours * 60 + int(match["minutes"] or 0)) * 60) + Decimal(match["seconds"] or 0)
    return -whole if match["sign"] else whole


def json_value(text: str) -> Any:
    """The value of a JSON text, in which no key may come twice and NaN and infinities do not exist.

    Raises:
        ValueError: It is no such text, or brackets nest too deep.
    """
    if nesting_depth(text) > _MAX_DEPTH:
        raise ValueError("The brackets nest too deep.")
    return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("A key comes twice.")
    return found


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON.")


def listed(text: str) -> list | None:
    """A list of JSON or of Python literals."""
    if not text.startswith("["):
        return None
    try:
        return json_value(text.replace("'", '"'))
    except ValueError:
        return None


def canonical(value: Any, *, quoted: bool = False) -> Any:
    """A value of which equal ones have equal types, unlike `True` and 1; `quoted` reads numbers out of strings."""
    match value:
        case bool() | None:
            return ("constant", str(value))
        case int():
            return value
        case float():
            return Decimal(str(value))  # equal to an integer of the same value
        case str():
            found = number(value) if quoted else None
            return value if found is None else found
        case list() | tuple():
            return [canonical(item, quoted=quoted) for item in value]
        case dict():
            return {name: canonical(item, quoted=quoted) for name, item in value.items()}
    raise ValueError(f"{type(value).__name__} is no JSON.")


def board(text: str, *, ignored: str = "") -> list[list[str]]:
    """The words of each line, but those of `ignored` characters; lines without any other word are left out."""
    rows = [[word for word in line.split() if word.strip(ignored)] for line in text.splitlines()]
    return [row for row in rows if row]
