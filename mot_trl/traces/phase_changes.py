"""Where a completion begins and ends to think in each of its turns, and why."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any


def token_phases(
    thinking: Sequence[bool], forced: Sequence[bool], turns: Sequence[int] | None = None
) -> Iterator[str]:
    """The phase of each token: `waiting`, `thinking`, `forced`, `answering`, or a `result` of tools.

    Args:
        turns: Turn of each token, -1 for those that are not the model's; None if there is one alone.
    """
    has_thought, last = False, 0
    for is_thinking, is_forced, turn in zip(thinking, forced, turns or [0] * len(thinking), strict=True):
        if turn < 0:
            yield "result"
            continue
        has_thought, last = is_thinking or (has_thought and turn == last), turn
        # An ordinary token is `waiting` for the opening tag if no thinking precedes it, and else part of the answer.
        yield "thinking" if is_thinking else "forced" if is_forced else "answering" if has_thought else "waiting"


def phase_changes(
    thinking: Sequence[bool], forced: Sequence[bool], turns: Sequence[int] | None = None, *, cause: str | None
) -> list[dict[str, Any]]:
    """`position` and `cause` of each change of `phase` in a completion, given what ended its last span of thinking.

    Of earlier spans it is known whether the text ended them (`stop_text`), or a rule whose tag was `forced`.
    """
    turns = turns or [0] * len(thinking)
    tokens = enumerate(zip(token_phases(thinking, forced, turns), turns, strict=True))
    runs = [(*token, next(group)[0]) for token, group in groupby(tokens, _phase_and_turn)]
    last = max((index for index, (phase, *_) in enumerate(runs) if phase == "thinking"), default=0)
    first_of_turn = {turn: index for index, (_, turn, _) in reversed(list(enumerate(runs)))}
    changes: list[dict[str, Any]] = []
    for index, (phase, turn, position) in enumerate(runs):
        if phase == "result":
            why = "call"
        elif turn > 0 and index == first_of_turn[turn]:
            why = "turn"
        elif phase not in ("forced", "answering"):
            # Thinking that does not begin at once was opened by its tag.
            why = "start_text" if phase == "thinking" and position else "start"
        elif index > last:
            why = cause or "end"
        else:
            why = "forced" if "forced" in (phase, runs[index - 1][0]) else "stop_text"
        changes.append({"position": position, "phase": phase, "cause": why})
    return changes


def _phase_and_turn(token: tuple[int, tuple[str, int]]) -> tuple[str, int]:
    return token[1]
