"""Where a completion begins and ends to think, and why."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any


def token_phases(thinking: Sequence[bool], forced: Sequence[bool]) -> Iterator[str]:
    """The phase of each token: `waiting`, `thinking`, `forced` or `answering`."""
    has_thought = False
    for is_thinking, is_forced in zip(thinking, forced, strict=True):
        has_thought |= is_thinking
        # An ordinary token is `waiting` for the opening tag if no thinking precedes it, and else part of the answer.
        yield "thinking" if is_thinking else "forced" if is_forced else "answering" if has_thought else "waiting"


def phase_changes(thinking: Sequence[bool], forced: Sequence[bool], *, cause: str | None) -> list[dict[str, Any]]:
    """`position` and `cause` of each change of `phase` in a completion, given what ended its last span of thinking.

    Of earlier spans it is known whether the text ended them (`stop_text`), or a rule whose tag was `forced`.
    """
    runs = [
        (phase, next(tokens)[0]) for phase, tokens in groupby(enumerate(token_phases(thinking, forced)), _phase_of)
    ]
    last = max((index for index, (phase, _) in enumerate(runs) if phase == "thinking"), default=0)
    changes: list[dict[str, Any]] = []
    for index, (phase, position) in enumerate(runs):
        if phase not in ("forced", "answering"):
            # Thinking that does not begin at once was opened by its tag.
            why = "start_text" if phase == "thinking" and position else "start"
        elif index > last:
            why = cause or "end"
        else:
            why = "forced" if "forced" in (phase, runs[index - 1][0]) else "stop_text"
        changes.append({"position": position, "phase": phase, "cause": why})
    return changes


def _phase_of(token: tuple[int, str]) -> str:
    return token[1]
