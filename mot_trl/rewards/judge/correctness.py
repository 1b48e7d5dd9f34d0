"""The judge of answers: whether a completion's final answer is the gold one; the maths grader decides what it can."""

import logging
import re
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mot_trl.rewards.answer import completion_text, final_answer
from mot_trl.rewards.judge.injection import objection, tidy
from mot_trl.rewards.judge.numbers import rules_out
from mot_trl.rewards.judge.plan import Plan, column, problem_texts, settle_rows
from mot_trl.rewards.judge.prompt import Question
from mot_trl.rewards.math.equivalence import is_equivalent

logger = logging.getLogger(__name__)

INSTRUCTIONS = (
    "You compare a student's final answer with the reference answer. Say correct only if both mean exactly the same: "
    "the same value, set, expression or thing, however written. Units may be left out or spelled out, but must not "
    "differ. A rounded value is not its exact value. Several different answers, an answer that hedges, a question, "
    "a plan, an explanation without an answer, or anything you are unsure about is incorrect. Do not solve the "
    "problem: the reference answer is right by definition."
)
VERDICTS = {"correct": 1.0, "incorrect": 0.0}
_SHARE_FOR_RULES = 0.5


@dataclass
class Answers:
    """Compare final answers with the column `gold_column`.

    Args:
        question_column: the column with the problem, sent along; None sends none.
        rules_first: let the maths grader pay what it proves equal, and refuse other numbers than a gold number.
        opened: whether the chat template opens the thinking in the prompt (see `extract.answer_part`).
        max_characters: of the answer, beyond the gold's own length, that are sent.
    """

    gold_column: str = "answer"
    question_column: str | None = None
    rules_first: bool = True
    opened: bool = False
    max_characters: int = 300
    _seen: deque[str] = field(default_factory=lambda: deque(maxlen=64), init=False)

    def plan(self, completions: Sequence[Any], columns: Mapping[str, Sequence[Any]], *, until: float) -> Plan:
        """Reward 0 for no answer and for what the guards reject, 1 for what the rules prove; ask about the rest."""
        golds = [tidy(str(gold)) for gold in column(columns, self.gold_column, setting="gold_column")]
        problems = problem_texts(columns, self.question_column, rows=len(golds))
        # Hostile expressions take the rules seconds each; half of the time is kept for the judge.
        rules_until = time.monotonic() + _SHARE_FOR_RULES * (until - time.monotonic())
        rewards: list[float | None] = [None] * len(golds)
        questions: list[Question] = []
        rows: list[int] = []
        counts = Counter(by_rules=0, rejected=0, errors=0)
        for row, (completion, gold, problem) in enumerate(zip(completions, golds, problems, strict=True)):
            try:
                sorted_out = self._sort_out(completion, gold, problem, counts=counts, until=rules_until)
            except Exception as error:  # one hostile completion must not cost the others their rewards
                logger.warning("A completion could not be read: %s.", type(error).__name__)
                counts["errors"] += 1
                continue
            if isinstance(sorted_out, Question):
                rows.append(row)
                questions.append(sorted_out)
            else:
                rewards[row] = sorted_out
        return Plan(questions, settle_rows(rewards, rows), counts, canary=self._canary(golds))

    def _sort_out(
        self, completion: Any, gold: str, problem: dict[str, str], *, counts: Counter[str], until: float
    ) -> float | Question | None:
        """The reward, where it takes no judge, or the question to ask."""
        if not gold:
            return None
        answer = final_answer(completion_text(completion), opened=self.opened)
        if answer is None:
            return 0.0
        sent = self._cut(answer, gold)
        decided = self._decide(gold, answer, sent, until=until) if self.rules_first else None
        if decided is not None:
            counts["by_rules"] += 1
            return decided
        if objection(sent, gold):
            counts["rejected"] += 1
            return 0.0
        return self._question(gold, sent, problem)

    def _cut(self, answer: str, gold: str) -> str:
        limit = len(gold) + self.max_characters
        # Cut before the work, too: an answer may be a megabyte of spaces.
        return tidy(answer[: 4 * limit])[:limit]

    def _decide(self, gold: str, answer: str, sent: str, *, until: float) -> float | None:
        left = until - time.monotonic()
        if left > 0 and is_equivalent(gold, answer, timeout=min(2.0, left)):
            return 1.0
        # After it: 36/2 names no 18 and is 18.
        return 0.0 if rules_out(gold, sent) else None

    def _question(self, gold: str, answer: str, problem: Mapping[str, str]) -> Question:
        return Question(INSTRUCTIONS, {**problem, "reference": gold, "answer": answer}, VERDICTS)

    def _canary(self, golds: Sequence[str]) -> Question | None:
        """Whether one row's gold equals another's, of this batch or an earlier one, which it does not."""
        gold = next((gold for gold in golds if gold), None)
        if gold is None:
            return None
        self._seen.extend(other for other in dict.fromkeys(golds) if other and other not in self._seen)
        for other in self._seen:
            if not objection(other, gold) and _surely_differ(gold, other):
                return self._question(gold, other, {})
        return None


def _surely_differ(gold: str, other: str) -> bool:
    # Two data sets' golds may be one value in two guises, so only plain different numbers and words will do.
    plain = all(re.fullmatch(r"-?\d+|[A-Za-z]{2,}", text) for text in (gold, other))
    return plain and gold.casefold() != other.casefold() and (gold.isalpha() or rules_out(gold, other))
