r"""Times of day: `3:00 p.m.`, `3\text{ PM}`, `15:00` and `3 o'clock`."""

import re
from functools import lru_cache
from typing import NamedTuple

_CLOCK = re.compile(
    r"(?:at )?(?P<hour>[01]?[0-9]|2[0-3])(?::(?P<minute>[0-5][0-9])(?::(?P<second>[0-5][0-9]))?)?\s*"
    r"(?:(?P<sign>o'? ?clock)|hours)?\s*(?:(?P<half>[ap])\.?\s?m\.?|(?P<noon>noon)|(?P<midnight>midnight))?"
    r"(?:\s*(?:in the (?P<morning>morning)|in the (?P<evening>afternoon|evening)|at (?P<night>night)))?",
    re.I,
)
_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")


class Clock(NamedTuple):
    """A time of day.

    Attributes:
        seconds: Since noon or midnight, whichever was last.
        half: `a` or `p` for the half of the day, "" where the text does not say which.
        counts_to_24: Whether the hour itself says it, as in `15:00`.
        is_sharp: Whether it is a full hour.
    """

    seconds: int
    half: str
    counts_to_24: bool
    is_sharp: bool


@lru_cache(maxsize=4096)
def read_clock(text: str) -> Clock | None:
    """The time of day that a normalized `text` states: with minutes, a half of the day, or `o'clock`."""
    text = _TEXT.sub(r" \1 ", text).strip()
    match = _CLOCK.fullmatch("12 " + text if text.lower() in ("noon", "midnight") else text)
    if match is None or not any(match.groups()[1:]):
        return None
    hour, minute, second = (int(match[name] or 0) for name in ("hour", "minute", "second"))
    counts_to_24 = hour == 0 or hour > 12
    afternoon = match["noon"] or match["evening"] or (match["night"] and 6 <= hour < 12)
    half = match["half"] or (
        "p" if afternoon else "a" if match["midnight"] or match["morning"] or match["night"] else ""
    )
    if counts_to_24:
        # `15:00 a.m.` is no time.
        if half.lower() == ("a" if hour else "p"):
            return None
        half = "p" if hour else "a"
    return Clock((hour % 12 * 60 + minute) * 60 + second, half.lower(), counts_to_24, minute == second == 0)


def same_clock(gold: Clock, answer: Clock) -> bool:
    """Whether two times agree; a half of the day may be left out or added, but the hour 3 is 15 only with `p.m.`."""
    if gold.seconds != answer.seconds:
        return False
    if gold.half and answer.half:
        return gold.half == answer.half
    return not (answer if answer.half else gold).counts_to_24
