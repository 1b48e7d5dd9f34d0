"""Rewards for the format `<think>...</think><answer>...</answer>`, in [0, 1], whatever the answer.

A chat template may open the thinking in the prompt, so no reward requires `<think>` itself, only that it comes neither
twice nor late. Each takes time linear in the completion's length.
"""

import re
from typing import Any

from mot_trl.rewards.answer import ANSWER_CLOSE, ANSWER_OPEN, THINK_CLOSE, THINK_OPEN, completion_text, final_answer

TAGS = (THINK_OPEN, THINK_CLOSE, ANSWER_OPEN, ANSWER_CLOSE)

# Commas only where they separate thousands.
_INTEGER = re.compile(r"[+-]?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)")


def integer_answer(completions: list, **_: Any) -> list[float]:
    """1 if the final answer is an integer such as `42`, `-7` or `1,080`, right or wrong, else 0."""
    answers = [final_answer(completion_text(completion)) for completion in completions]
    return [float(answer is not None and _INTEGER.fullmatch(answer) is not None) for answer in answers]


def strict_format(completions: list, **_: Any) -> list[float]:
    """1 if each tag occurs once, in order, alone on its line, with text between and nothing around, else 0."""
    return [float(_is_strict(completion_text(completion))) for completion in completions]


def soft_format(completions: list, **_: Any) -> list[float]:
    """1 if a closed thinking phase is followed by a closed answer, whatever surrounds them, else 0."""
    return [float(_is_soft(completion_text(completion))) for completion in completions]


def tag_count(completions: list, **_: Any) -> list[float]:
    """A quarter for each of the four tags that occurs exactly once, less 0.001 per character after the answer.

    `<think>` also earns its quarter if the prompt opened it: it is absent, and there is one `</think>`.
    """
    return [_tag_score(completion_text(completion)) for completion in completions]


def _is_strict(text: str) -> bool:
    if any(text.count(tag) > 1 for tag in TAGS):
        return False
    # From here on each tag has one position at most.
    lines = [line.strip() for line in text.strip().split("\n")]
    if lines[0] == THINK_OPEN:
        del lines[0]
    if not {THINK_CLOSE, ANSWER_OPEN, ANSWER_CLOSE} <= set(lines) or THINK_OPEN in "".join(lines):
        return False
    thought_end, start, end = (lines.index(tag) for tag in (THINK_CLOSE, ANSWER_OPEN, ANSWER_CLOSE))
    between = "".join(lines[thought_end + 1 : start])
    answer = "".join(lines[start + 1 : end])
    return bool("".join(lines[:thought_end]) and not between and answer and end == len(lines) - 1 and start < end)


def _is_soft(text: str) -> bool:
    thought, closed, rest = text.partition(THINK_CLOSE)
    answer = rest.partition(ANSWER_OPEN)[2].partition(ANSWER_CLOSE)
    return bool(closed and thought.count(THINK_OPEN) <= 1 and answer[1])


def _tag_score(text: str) -> float:
    counts = [text.count(tag) for tag in TAGS]
    if counts[0] == 0 and counts[1] == 1:
        counts[0] = 1
    # Otherwise a model could ramble on behind a closed answer at no cost.
    trailing = text.rpartition(ANSWER_CLOSE)[2].strip() if counts[3] else ""
    return max(0.0, sum(count == 1 for count in counts) / 4 - 0.001 * len(trailing))
