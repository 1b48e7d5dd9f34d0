r"""Extract a completion's final answer: after the thinking, in `\boxed{}`, in `<answer>` tags, or behind `####`."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"
ANSWER_OPEN, ANSWER_CLOSE = "<answer>", "</answer>"

# A box's opening, a box of one word (as in some of MATH's solutions), an escape (so that `\{` counts as no brace;
# `\\boxed` is a box escaped twice), or a brace.
_BRACES = re.compile(r"\\(?:boxed|fbox)\s*\{|\\(?:boxed|fbox)\s+([^\s{}$]+)|\\\\(?!boxed|fbox)|\\[{}]|[{}]")


def completion_text(completion: str | Sequence[Mapping[str, Any]]) -> str:
    """The text of a completion as TRL passes it: a string, or messages, of which the last one by the assistant counts.

    A message's content may be a string, a list of parts (`{"type": "text", "text": ...}`; others are skipped) or None.
    A message without a role counts as the assistant's, as in TRL's own examples; no such message gives "".
    """
    if isinstance(completion, str):
        return completion
    contents = [m.get("content") for m in completion if m.get("role", "assistant") == "assistant"]
    # After a tool call the last message may be the tool's, which the model did not write.
    content = contents[-1] if contents else None
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part.get("text") or "" for part in content if part.get("type") == "text")


def answer_part(text: str, *, opened: bool = False) -> str | None:
    """The text after the thinking, or None where a thinking phase was opened and never closed.

    Everything before the last `</think>` is thinking, also without a `<think>`, which a chat template may have put in
    the prompt. A text with neither tag is an answer as a whole, unless `opened` says that the prompt opened the phase
    (as the templates of some reasoning models do): then the thinking never ended.
    """
    _, closed, rest = text.rpartition(THINK_CLOSE)
    # A phase opened once more after the last close is not finished either.
    if THINK_OPEN in rest or (opened and not closed):
        return None
    return rest


def final_answer(text: str, *, opened: bool = False) -> str | None:
    r"""The final answer in `text`, stripped, or None where there is none.

    After the thinking (see `answer_part`): the last balanced `\boxed{...}`, else the last `<answer>...</answer>`, else
    the rest of the line behind the last `####`. An empty answer counts as none. Takes linear time.
    """
    part = answer_part(text, opened=opened) or ""
    # From the most deliberate mark to the least: a model that boxes an answer may also write `####` in passing.
    marked = (find(part) for find in (_last_boxed, _last_tagged, _last_hashed))
    return next((answer for answer in marked if answer is not None), "").strip() or None


def _last_boxed(text: str) -> str | None:
    # One pass with a stack: a search from every box for its own brace would be quadratic on `\boxed{\boxed{...`.
    boxed = None
    openings: list[int | None] = []  # where a box's content starts; None for any other brace
    for match in _BRACES.finditer(text):
        token = match.group()
        if match.group(1):
            boxed = match.group(1)
        elif token == "}":
            start = openings.pop() if openings else None
            boxed = boxed if start is None else text[start : match.start()]
        elif token == "{":
            openings.append(None)
        elif token.startswith((r"\boxed", r"\fbox")):
            openings.append(match.end())
    return boxed


def _last_tagged(text: str) -> str | None:
    end = text.rfind(ANSWER_CLOSE)
    start = text.rfind(ANSWER_OPEN, 0, max(end, 0))
    return None if start < 0 else text[start + len(ANSWER_OPEN) : end]


def _last_hashed(text: str) -> str | None:
    _, mark, rest = text.rpartition("####")
    return rest.strip().partition("\n")[0] if mark else None
