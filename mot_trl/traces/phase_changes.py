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
    """`position` and `cause` of each change of `phase` in a completion, given what ended its thinking."""
    changes = []
    for phase, tokens in groupby(enumerate(token_phases(thinking, forced)), key=lambda token: token[1]):
        position = next(tokens)[0]
        # Thinking that does not begin at once was opened by its tag.
        opened_by = "start_text" if phase == "thinking" and position else "start"
        closed = phase in ("forced", "answering")
        changes.append({"position": position, "phase": phase, "cause": (cause or "end") if closed else opened_by})
    return changes
