"""Whether two mathematical answers are the same, and the TRL reward built on it."""

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

from mot_trl.grading.extract import completion_text, final_answer

_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)?(?:\.[0-9]+)?")


def is_equivalent(gold: str, answer: str, *, timeout: float = 2.0) -> bool | None:
    """Whether `answer` is `gold` in another guise; None where the gold cannot be read.

    Args:
        timeout: seconds after which the answer counts as wrong.
    """
    if not gold.strip():
        return None
    first, second = _number(gold), _number(answer)
    if first is not None and second is not None:
        return first == second
    return gold.strip() == answer.strip()


@dataclass(frozen=True)
class MathReward:
    """A TRL reward: 1 where a completion's final answer is equivalent to the gold, 0 where not, None where unknowable.

    Args:
        gold_column: the data set's column with the gold answers.
        opened: whether the chat template opens the thinking in the prompt (see `extract.answer_part`).
        timeout: seconds for each pair, after which the answer counts as wrong.
    """

    gold_column: str = "answer"
    opened: bool = False
    timeout: float = 2.0

    # TRL names a reward's metrics by it.
    __name__: ClassVar[str] = "correct_answer"

    def __call__(self, completions: list, **columns: Any) -> list[float | None]:
        """One reward for each completion, in TRL's calling convention."""
        if self.gold_column not in columns:
            raise KeyError(f"`gold_column` is {self.gold_column!r}; the rows have {sorted(columns)}.")
        golds = columns[self.gold_column]
        return [self._score(completion, gold) for completion, gold in zip(completions, golds, strict=True)]

    def _score(self, completion: Any, gold: str) -> float | None:
        answer = final_answer(completion_text(completion), opened=self.opened)
        if answer is None:
            return 0.0
        verdict = is_equivalent(gold, answer, timeout=self.timeout)
        return None if verdict is None else float(verdict)


def _number(text: str) -> Fraction | None:
    text = text.strip().lstrip("$").strip()
    return Fraction(text.replace(",", "")) if text and _NUMBER.fullmatch(text) else None
