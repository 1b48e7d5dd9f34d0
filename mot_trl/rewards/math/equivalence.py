r"""Equivalence of two mathematical answers, and `MathReward`, the TRL reward built on it.

The rules go from cheap to expensive: exact numbers, one spelling, compound answers part by part, values at random
points, and last computer algebra in a process that can be killed. No answer is ever evaluated as code.
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, ClassVar

from mot_trl.rewards.answer import completion_text, final_answer
from mot_trl.rewards.math.compound import read_compound, same_compound
from mot_trl.rewards.math.limits import MAX_LENGTH, is_computable, is_readable
from mot_trl.rewards.math.math_verify import require_math_verify, verify
from mot_trl.rewards.math.normalize import key, normalize
from mot_trl.rewards.math.numeric import same_equation, same_expression
from mot_trl.rewards.math.quantity import read_quantity, read_unit, same_quantity, same_unit
from mot_trl.rewards.math.words import has_words, same_words, split_unit

_logger = logging.getLogger(__name__)

_ASSIGNED = re.compile(
    r"((?:[a-zA-Z]|\\[a-zA-Z]+)(?:_\{?[0-9a-zA-Z]+\}?)?(?:\([a-z]\)|\^\{-1\}\([a-z]\))?)\s*=\s*(?!=)"
)
_VARIABLE = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z](?![a-zA-Z])")
_ORDER = re.compile(r"[<>]|\\[lg]e(?![a-zA-Z])")
_MONEY = re.compile(r"^(?:\$|\\dollar|\\pounds|€)\s*")
_ASKS_PERCENT = re.compile(r"\b(?:what|find|calculate|by|as|in|which)\b[^.?!,;]{0,40}?\bpercent(?:age)?\b", re.I)
_PERCENT_SIGN = re.compile(r"\s*(?:\\?%|\\text\s*\{\s*percent\s*\}|\bpercent)[\s.$]*$", re.I)


def is_equivalent(gold: str, answer: str, *, timeout: float = 2.0, symbolic: bool = True) -> bool | None:
    """Whether `answer` is mathematically the same as `gold`; None where the gold cannot be read.

    Answers that are too long, too deeply nested, or that would make a computer algebra system diverge are wrong. Works
    in any thread; verdicts are cached.

    Args:
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
    return _is_equivalent(gold.strip(), answer.strip(), timeout if symbolic else None)


def asks_for_percent(question: str) -> bool:
    """Whether a question asks for a percentage, so that a percent sign in the answer is its unit."""
    return _ASKS_PERCENT.search(question) is not None


@dataclass(frozen=True)
class MathReward:
    """A TRL reward: 1 if the final answer is equivalent to the gold, 0 if not, None if the gold cannot be read.

    Args:
        question_column: The column with the questions, if there is one: where they ask for a percentage, `60%` is
            right for the gold `60`; elsewhere it is not.
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
    opened: bool = False
    timeout: float = 2.0
    symbolic: bool = True

    # TRL names a reward's metrics by it.
    __name__: ClassVar[str] = "correct_answer"

    def __post_init__(self) -> None:
        """Check the settings."""
        if not self.timeout > 0:
            raise ValueError(f"`timeout` is {self.timeout}; give the seconds for one pair, above 0.")

    def __call__(self, completions: list, **columns: Any) -> list[float | None]:
        """One reward for each completion, in TRL's calling convention."""
        if self.gold_column not in columns:
            raise KeyError(f"`gold_column` is {self.gold_column!r}; the rows have {sorted(columns)}.")
        # Before the first pair: a missing package must not show up hours into a training.
        if self.symbolic:
            require_math_verify()
        golds = columns[self.gold_column]
        questions = columns.get(self.question_column) or [""] * len(golds)
        return [self._score(*row) for row in zip(completions, golds, questions, strict=True)]

    def _score(self, completion: str | list[Mapping[str, Any]], gold: str, question: str) -> float | None:
        answer = final_answer(completion_text(completion), opened=self.opened)
        if answer is None:
            return 0.0
        if asks_for_percent(question):
            gold, answer = _PERCENT_SIGN.sub("", gold), _PERCENT_SIGN.sub("", answer)
        verdict = is_equivalent(gold, answer, timeout=self.timeout, symbolic=self.symbolic)
        return None if verdict is None else float(verdict)


@lru_cache(maxsize=65536)
def _is_equivalent(gold: str, answer: str, timeout: float | None) -> bool | None:
    if gold == answer:
        return True
    if not is_readable(gold):
        return _unknown(gold)
    if not answer or not is_readable(answer):
        return False
    gold, answer = normalize(gold), normalize(answer)
    if (verdict := _same_at_sight(gold, answer)) is not None:
        return verdict
    bound, also_bound = (set(_VARIABLE.findall(text)) if _ORDER.search(text) else set() for text in (gold, answer))
    # Intervals forget the variable: `x<3` and `y<3` would both be `(-\infty, 3)`.
    if bound and also_bound and not bound & also_bound:
        return False
    gold, answer = _without_separators(gold), _without_separators(answer)
    verdict = same_compound(read_compound(gold), read_compound(answer), partial(_same_leaf, timeout=timeout))
    return _unknown(gold) if verdict is None else verdict


def _same_at_sight(gold: str, answer: str) -> bool | None:
    """The verdict on two numbers, or on two texts of one spelling; None on anything else."""
    first, second = read_quantity(gold), read_quantity(answer)
    if first and second:
        return same_quantity(first, second)
    return True if key(gold) == key(answer) else None


def _without_separators(text: str) -> str:
    """An integer as its digits, so that `1,000,000` is neither a list nor beyond the expressions' grammar."""
    quantity = read_quantity(text)
    return text if quantity is None or quantity.unit or quantity.value.denominator != 1 else str(quantity.value)


def _same_leaf(gold: str, answer: str, timeout: float | None) -> bool | None:
    gold, answer = gold.strip().removeprefix("+"), answer.strip().removeprefix("+")
    if (verdict := _same_at_sight(gold, answer)) is not None:
        return verdict
    # A number in another base is a number; what is not one of the same base is not the same.
    if any(quantity and quantity.unit.startswith("base ") for quantity in map(read_quantity, (gold, answer))):
        return False
    (number, unit), (also_number, also_unit) = (split_unit(_MONEY.sub("", text)) for text in (gold, answer))
    # The unit stays on: `5 apples` against `five apples` is compared as words on the whole.
    if has_words(number) or has_words(also_number):
        return same_words(gold, answer)
    # Infinity is a symbol here, equal to its own spelling alone, and that has been compared.
    if r"\infty" in number + also_number or not same_unit(read_unit(unit), read_unit(also_unit)):
        return False
    if "=" in number or "=" in also_number:
        return _same_relation(number, also_number, timeout)
    verdict = same_expression(number, also_number)
    if verdict is not None or timeout is None:
        return bool(verdict)
    return is_computable(number) and is_computable(also_number) and verify(number, also_number, timeout=timeout)


def _same_relation(gold: str, answer: str, timeout: float | None) -> bool | None:
    """Equations; a variable's assignment on one side alone counts as its value, as in `x = 5` against `5`."""
    assigned, also_assigned = _ASSIGNED.match(gold), _ASSIGNED.match(answer)
    value = answer[also_assigned.end() :] if also_assigned else answer
    if assigned and also_assigned and key(assigned.group(1)) == key(also_assigned.group(1)):
        return _same_leaf(gold[assigned.end() :], value, timeout)
    if assigned and "=" not in answer:
        return _same_leaf(gold[assigned.end() :], answer, timeout)
    if "=" not in gold:
        # `x = 2 + 3 = 5`: every link must hold, or `7 = 5` would be paid for 5.
        return all(_same_leaf(gold, link, timeout) for link in value.split("="))
    return bool(same_equation(gold, answer))


@lru_cache(maxsize=1024)
def _unknown(gold: str) -> None:
    # Cached, so that each gold is reported once.
    _logger.warning("No verdict: the gold answer %.80r cannot be read.", gold)
