r"""Equivalence of two mathematical answers, and `MathReward`, the TRL reward built on it.

The rules go from cheap to expensive: exact numbers, one spelling, compound answers part by part, values at random
points, and last computer algebra in a process that can be killed. No answer is ever evaluated as code.
"""

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, ClassVar

from mot_trl.rewards.answer import completion_text, final_answer
from mot_trl.rewards.math.choice import Choice, read_choice, read_gold_choice
from mot_trl.rewards.math.compound import read_compound, same_compound
from mot_trl.rewards.math.gold import read_golds
from mot_trl.rewards.math.intervals import builder_condition
from mot_trl.rewards.math.leaf import expression_and_unit, near_leaf, same_at_sight, same_leaf
from mot_trl.rewards.math.limits import MAX_LENGTH, is_balanced, is_readable
from mot_trl.rewards.math.math_verify import require_math_verify
from mot_trl.rewards.math.normalize import normalize
from mot_trl.rewards.math.quantity import read_quantity
from mot_trl.rewards.math.question import asks_for_percent, may_have_unit, question_text, without_asked_unit

__all__ = ["MathReward", "asks_for_percent", "is_equivalent"]

_logger = logging.getLogger(__name__)

_VARIABLE = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z](?![a-zA-Z])")
_ORDER = re.compile(r"[<>]|\\(?:[lgn]e)(?![a-zA-Z])")
# Of so many unreadable golds, the rest need no report.
_MAX_REPORTS = 1000


def is_equivalent(
    gold: str,
    answer: str,
    *,
    question: str = "",
    tolerance: float = 0.0,
    timeout: float = 2.0,
    symbolic: bool = True,
) -> bool | None:
    """Whether `answer` is mathematically the same as `gold`; None where the gold cannot be read.

    Answers that are too long, too deeply nested, or that would make a computer algebra system diverge are wrong. Works
    in any thread; verdicts are cached.

    Args:
        question: Decides which units an answer may add to a gold that has none (see `MathReward`); "" allows all but
            the percent sign.
        tolerance: By how much a number, or each number of an answer of several parts, may differ from the gold's.
        timeout: Seconds for computer algebra where the cheaper rules do not decide, after which the answer is wrong.
        symbolic: Whether to use computer algebra at all; if not, an answer that the cheaper rules leave open is wrong.

    Raises:
        ImportError: Computer algebra is needed and math-verify is not installed.
    """
    if not gold.strip():
        return None
    # Before `strip` and the cache, which would keep a megabyte for every junk answer.
    if len(answer) > MAX_LENGTH + len(gold):
        return False
    gold, answer = without_asked_unit(gold.strip(), answer.strip(), question)
    verdict = _is_equivalent(gold, answer, timeout if symbolic else None, tolerance)
    if not verdict or not question or not (unit := _unit(answer)):
        return verdict
    return bool(_unit(gold)) or may_have_unit(unit, question)


@dataclass(frozen=True)
class MathReward:
    """A TRL reward: 1 if the final answer is equivalent to the gold, 0 if not, None if the gold cannot be read.

    A gold is whatever `gold.read_golds` reads: text, a number, a whole solution, or a list of which any item is right.
    Each unreadable one is reported once; `<the reward's name>/unreadable_golds` logs the share of such rows.

    Args:
        gold_column: The column with the golds.
        question_column: The column with the questions; without it, the prompts are read. They decide which units an
            answer may add to a gold that has none: `60%` is right for `60` only where a percentage is asked for, and
            `5 cm` is wrong for `5` where meters are. Without either, `60%` is wrong, and other units are right.
        tolerance_column: The column, which need not be there, with how far the numbers of a right answer may be from
            the gold's: a number, or None where they may not.
        opened: Whether the chat template opens the thinking in the prompt (see `rewards.answer.answer_part`).
        timeout: Seconds for each pair that needs computer algebra, after which the answer is wrong.
        symbolic: Whether to use computer algebra, that is math-verify; plain numbers do not need it.

    Raises:
        ValueError: `timeout` is not above 0.
        ImportError: When called: `symbolic`, and math-verify is not installed.
        KeyError: When called: there is no `gold_column`.
    """

    gold_column: str = "answer"
    question_column: str = "question"
    tolerance_column: str = "tolerance"
    opened: bool = False
    timeout: float = 2.0
    symbolic: bool = True
    _reported: set[str] = field(default_factory=set, init=False, repr=False, compare=False)

    # TRL names a reward's metrics by it.
    __name__: ClassVar[str] = "correct_answer"

    def __post_init__(self) -> None:
        """Check the settings."""
        if not self.timeout > 0:
            raise ValueError(f"`timeout` is {self.timeout}; give the seconds for one pair, above 0.")

    def __call__(
        self, completions: list, log_metric: Callable[[str, float], None] | None = None, **columns: Any
    ) -> list[float | None]:
        """One reward for each completion, in TRL's calling convention."""
        if self.gold_column not in columns:
            raise KeyError(f"`gold_column` is {self.gold_column!r}; the rows have {sorted(columns)}.")
        # Before the first pair: a missing package must not show up hours into a training.
        if self.symbolic:
            require_math_verify()
        golds = columns[self.gold_column]
        prompts = columns.get(self.question_column) or columns.get("prompts") or [""] * len(golds)
        tolerances = columns.get(self.tolerance_column) or [None] * len(golds)
        rewards: list[float | None] = []
        rows = zip(completions, golds, prompts, tolerances, strict=True)
        for row, (completion, gold, prompt, tolerance) in enumerate(rows):
            question = question_text(prompt)
            rewards.append(self._score(completion, read_golds(gold), question, tolerance or 0.0))
            if rewards[-1] is None:
                self._report(gold, row, question)
        if log_metric is not None and rewards:
            log_metric(f"{self.__name__}/unreadable_golds", rewards.count(None) / len(rewards))
        return rewards

    def _score(
        self, completion: str | list[Mapping[str, Any]], golds: list[str], question: str, tolerance: float
    ) -> float | None:
        answer = final_answer(completion_text(completion), opened=self.opened) or ""
        same = partial(
            is_equivalent, question=question, tolerance=tolerance, timeout=self.timeout, symbolic=self.symbolic
        )
        verdicts = [same(gold, answer) for gold in golds]
        if True in verdicts:
            return 1.0
        return 0.0 if False in verdicts else None

    def _report(self, gold: Any, row: int, question: str) -> None:
        text = f"{gold!r:.80}"
        if text not in self._reported and len(self._reported) < _MAX_REPORTS:
            self._reported.add(text)
            _logger.warning("No reward: row %d of the batch has the gold %s, unreadable (%.80r).", row, text, question)


@lru_cache(maxsize=65536)
def _is_equivalent(gold: str, answer: str, timeout: float | None, tolerance: float = 0.0) -> bool | None:
    if gold == answer:
        return True
    if not is_readable(gold) or not is_balanced(gold) or not (normal := normalize(gold)):
        return None
    if not answer or not is_readable(answer):
        return False
    gold, answer = normal, normalize(answer)
    verdict = same_at_sight(gold, answer)
    if verdict or (verdict is False and not tolerance):
        return verdict
    if choice := read_gold_choice(gold):
        return _same_choice(choice, answer, timeout)
    bound, also_bound = _bound(gold), _bound(answer)
    # Intervals forget the variable: `x<3` and `y<3` would both be `(-\infty, 3)`.
    if bound and also_bound and not bound & also_bound:
        return False
    gold, answer = _without_separators(gold), _without_separators(answer)
    same = partial(near_leaf, tolerance=tolerance) if tolerance else same_leaf
    return same_compound(read_compound(gold), read_compound(answer), partial(same, timeout=timeout))


def _bound(text: str) -> set[str]:
    r"""The variables of an inequality; that of a set such as `\{x \mid x > 2\}` is nothing but a name."""
    is_free = _ORDER.search(text) and builder_condition(text) is None
    return set(_VARIABLE.findall(text)) if is_free else set()


def _same_choice(gold: Choice, answer: str, timeout: float | None) -> bool | None:
    """Whether the answer names the gold's letter, its value, or both and no other."""
    chosen = read_choice(answer)
    if chosen and chosen.letter != gold.letter:
        return False
    value = chosen.value if chosen else answer
    # Text behind a letter that stands alone in the gold cannot be compared.
    if chosen and not (gold.value and value):
        return True
    return bool(gold.value) and _is_equivalent(gold.value, value, timeout)


def _without_separators(text: str) -> str:
    """An integer as its digits, so that `1,000,000` is neither a list nor beyond the expressions' grammar."""
    quantity = read_quantity(text)
    return text if quantity is None or quantity.unit or quantity.value.denominator != 1 else str(quantity.value)


@lru_cache(maxsize=4096)
def _unit(text: str) -> str:
    """The unit of a text before its normalization, "" where it has none or cannot be read."""
    if not is_readable(text):
        return ""
    text = normalize(text)
    quantity = read_quantity(text)
    return quantity.unit if quantity else expression_and_unit(text)[1]
