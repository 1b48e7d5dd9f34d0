r"""Whether two mathematical answers are the same, and the TRL reward built on it.

From cheap to dear: both are numbers, read exactly; both have one spelling; both have parts, compared one by one; both
have values at random points; and only then computer algebra, in a process that can be killed. Nothing is ever
evaluated as code.
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

from mot_trl.rewards.answer import completion_text, final_answer
from mot_trl.rewards.math.compound import read_parts, same_parts
from mot_trl.rewards.math.expressions import same_equation, same_expression
from mot_trl.rewards.math.limits import MAX_LENGTH, is_computable, is_readable
from mot_trl.rewards.math.math_verify import require_math_verify, verify
from mot_trl.rewards.math.normalize import key, normalize
from mot_trl.rewards.math.quantity import Quantity, read_quantity, read_unit, same_quantity, same_unit
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
    """Whether `answer` is `gold` in another guise; None where the gold cannot be read.

    Answers that are too long, nested too deeply, or that would take a computer algebra system for a ride are wrong.
    Works in any thread; verdicts are cached.

    Args:
        timeout: seconds for computer algebra, should it come to that, after which the answer is wrong.
        symbolic: whether it may come to that. If not, an answer that the simpler rules cannot decide is wrong.

    Raises ImportError where computer algebra is needed and math-verify is not installed.
    """
    if not gold.strip():
        return None
    if len(answer) > MAX_LENGTH + len(gold):
        return False
    return _is_equivalent(gold.strip(), answer.strip(), timeout, symbolic)


def asks_for_percent(question: str) -> bool:
    """Whether a question asks for a percentage, so that a percent sign in the answer is its unit."""
    return _ASKS_PERCENT.search(question) is not None


@dataclass(frozen=True)
class MathReward:
    """A TRL reward: 1 where a completion's final answer is equivalent to the gold, 0 where not, None where unknowable.

    Args:
        gold_column: the data set's column with the gold answers.
        question_column: the column with the questions, if there is one: where they ask for a percentage, `60%` is
            right for the gold `60`; elsewhere it is not.
        opened: whether the chat template opens the thinking in the prompt (see `extract.answer_part`).
        timeout: seconds for each pair that needs computer algebra, after which the answer is wrong.
        symbolic: whether the golds may need computer algebra, that is math-verify. If it is missing, the first call
            raises ImportError. Without it, answers that the simpler rules cannot decide are wrong: right for plain
            numbers.
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
def _is_equivalent(gold: str, answer: str, timeout: float, symbolic: bool) -> bool | None:
    if gold == answer:
        return True
    if not is_readable(gold):
        return _unknown(gold)
    if not answer or not is_readable(answer):
        return False
    gold, answer = normalize(gold), normalize(answer)
    first, second = read_quantity(gold), read_quantity(answer)
    if first and second:
        return same_quantity(first, second)
    if gold and key(gold) == key(answer):
        return True

    def same_leaf(part: str, other: str) -> bool | None:
        return _same_leaf(part, other, timeout, symbolic)

    bound, also_bound = _bound_variables(gold), _bound_variables(answer)
    if bound and also_bound and not bound & also_bound:
        return False
    gold, answer = _plain_number(gold, first), _plain_number(answer, second)
    verdict = same_parts(read_parts(gold), read_parts(answer), same_leaf)
    return _unknown(gold) if verdict is None else verdict


def _plain_number(text: str, quantity: Quantity | None) -> str:
    """A number without its separators, so that `1,000,000` is neither a list nor beyond the expressions' grammar."""
    if quantity is None or quantity.unit or quantity.value.denominator != 1:
        return text
    return str(quantity.value)


def _bound_variables(text: str) -> set[str]:
    """The variables of an inequality, none where `text` is none."""
    return set(_VARIABLE.findall(text)) if _ORDER.search(text) else set()


def _same_leaf(gold: str, answer: str, timeout: float, symbolic: bool) -> bool | None:
    gold, answer = gold.strip().removeprefix("+"), answer.strip().removeprefix("+")
    first, second = read_quantity(gold), read_quantity(answer)
    if first and second:
        return same_quantity(first, second)
    if key(gold) == key(answer):
        return True
    if any(quantity and quantity.unit.startswith("base ") for quantity in (first, second)):
        return False
    words, also_words = gold, answer
    (gold, gold_unit), (answer, answer_unit) = (split_unit(_MONEY.sub("", text)) for text in (gold, answer))
    if has_words(gold) or has_words(answer):
        return same_words(words, also_words)
    if r"\infty" in gold + answer or not same_unit(read_unit(gold_unit), read_unit(answer_unit)):
        return False
    if "=" in gold or "=" in answer:
        return _same_relation(gold, answer, timeout, symbolic)
    verdict = same_expression(gold, answer)
    if verdict is not None or not symbolic:
        return bool(verdict)
    if not (is_computable(gold) and is_computable(answer)):
        return False
    return verify(gold, answer, timeout=timeout)


def _same_relation(gold: str, answer: str, timeout: float, symbolic: bool) -> bool | None:
    """Equations; a variable's assignment on one side alone counts as its value, as in `x = 5` against `5`."""
    assigned, also_assigned = _ASSIGNED.match(gold), _ASSIGNED.match(answer)
    if assigned and also_assigned and key(assigned.group(1)) == key(also_assigned.group(1)):
        return _same_leaf(gold[assigned.end() :], answer[also_assigned.end() :], timeout, symbolic)
    if assigned and "=" not in answer:
        return _same_leaf(gold[assigned.end() :], answer, timeout, symbolic)
    if "=" not in gold:
        # `x = 2 + 3 = 5`: every link must hold, or `7 = 5` would be paid for 5.
        links = (answer[also_assigned.end() :] if also_assigned else answer).split("=")
        return all(_same_leaf(gold, link, timeout, symbolic) for link in links)
    return bool(same_equation(gold, answer))


@lru_cache(maxsize=1024)
def _unknown(gold: str) -> None:
    # Cached, so that each gold is reported once.
    _logger.warning("No verdict: the gold answer %.80r cannot be read.", gold)
