"""Judge whether a completion's final answer equals the gold one, where the math grader cannot tell."""

import asyncio
import logging
import re
import time
import unicodedata
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from mot_trl.rewards.answer import completion_text, final_answer
from mot_trl.rewards.judge.client import Batch
from mot_trl.rewards.judge.injection import is_offense, tidy
from mot_trl.rewards.judge.prompt import JudgeRequest
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
_EXTRA_CHARACTERS = 300  # of an answer, beyond the length of the gold one
_CANARY = -1  # no row's number

_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|(?<![\w.])[-+]?\.\d+|\d+(?:\.\d+)?")
_SCALE_WORDS = re.compile(r"%|percent|hundred|thousand|million|billion|trillion|dozen|\bscore\b|\bk\b", re.IGNORECASE)
_SCALES = tuple(Fraction(scale) for scale in ("1", "1/100", "12", "20", "1e2", "1e3", "1e6", "1e9", "1e12"))
_PART_WORDS = re.compile(r"\b(?:hal(?:f|ves)|thirds?|quarters?|fourths?|fifths?|tenths?)\b", re.IGNORECASE)
_ONES = "one|two|three|four|five|six|seven|eight|nine"
_TEENS = "zero|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen"
_TENS = "twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety"
_SPELLED = re.compile(rf"\b(?:({_TENS})(?:[\s-]+({_ONES}))?|({_ONES}|{_TEENS}))\b", re.IGNORECASE)
_WORTHS = [*range(1, 10), 0, *range(10, 20), *range(20, 100, 10)]
_WORTH = dict(zip(f"{_ONES}|{_TEENS}|{_TENS}".split("|"), _WORTHS, strict=True))


@dataclass
class Correctness:
    """Compare final answers with gold ones; `JudgeReward` describes the attributes."""

    rules_first: bool
    opened: bool
    canary_every: int | None
    _batches: int = field(default=0, init=False)
    _seen: deque[str] = field(default_factory=lambda: deque(maxlen=64), init=False)

    async def score(self, batch: Batch, golds: Sequence[Any]) -> list[float | None]:
        """0 for no answer and for what the filter rejects, 1 for what the rules prove, else the judge's verdict."""
        golds = [tidy(str(gold)) for gold in golds]
        requests = self._canary(golds)
        # In a thread, as a hostile expression keeps the math grader busy for seconds.
        rewards = await asyncio.to_thread(self._decide, batch, golds, requests)
        verdicts = await batch.ask(requests)
        if _CANARY in verdicts:
            batch.count(canary_asked=1, canary_alarm=verdicts[_CANARY])
            if verdicts[_CANARY] > 0:
                logger.warning("The judge called another problem's answer correct: its verdicts cannot be trusted.")
        return [verdicts.get(row, reward) for row, reward in enumerate(rewards)]

    def _decide(self, batch: Batch, golds: Sequence[str], requests: dict[int, JudgeRequest]) -> list[float | None]:
        """The rewards that take no judge; the other rows' questions are added to `requests`."""
        # Hostile expressions may take all the time there is, so half of it is kept for the judge.
        rules_until = time.monotonic() + batch.seconds_left / 2
        rewards: list[float | None] = [None] * len(batch.completions)
        for row, (completion, gold, problem) in enumerate(zip(batch.completions, golds, batch.problems, strict=True)):
            try:
                answer = final_answer(completion_text(completion), opened=self.opened)
                if answer is None or not gold:
                    rewards[row] = 0.0 if gold else None
                    continue
                limit = len(gold) + _EXTRA_CHARACTERS
                # Cut before the work, too, as an answer may be a megabyte of spaces.
                sent = tidy(answer[: 4 * limit])[:limit]
                seconds = min(2.0, rules_until - time.monotonic())
                is_equal = self.rules_first and seconds > 0 and bool(is_equivalent(gold, answer, timeout=seconds))
                # Only now does another number exclude it, as 36/2 names no 18 and is 18.
                if is_equal or (self.rules_first and rules_out(gold, sent)):
                    rewards[row] = float(is_equal)
                    batch.count(by_rules=1)
                elif is_offense(sent, gold):
                    batch.count(rejected=1)
                    rewards[row] = 0.0
                else:
                    data = {**problem, "reference": gold, "answer": sent}
                    requests[row] = JudgeRequest(INSTRUCTIONS, data, VERDICTS)
            except Exception as error:  # one hostile completion must not cost the others their rewards
                logger.warning("A completion could not be read: %s.", type(error).__name__)
                batch.count(errors=1)
        return rewards

    def _canary(self, golds: Sequence[str]) -> dict[int, JudgeRequest]:
        """In every `canary_every`-th batch, ask whether two golds are equal that surely are not."""
        self._batches += 1
        self._seen.extend(gold for gold in dict.fromkeys(golds) if gold and gold not in self._seen)
        if self.canary_every is None or self._batches % self.canary_every:
            return {}
        gold = next(filter(None, golds), "")
        other = next((it for it in self._seen if _surely_differ(gold, it) and not is_offense(it, gold)), None)
        data = {"reference": gold, "answer": other or ""}
        return {_CANARY: JudgeRequest(INSTRUCTIONS, data, VERDICTS, cacheable=False)} if other else {}


def rules_out(gold: str, answer: str) -> bool:
    """Whether a plain number `gold` excludes `answer`: it names another number, or none, in digits or in words.

    A number with a word of scale ("1.2 million", "40%") may stand for its multiple, and parts ("three quarters") may
    be a gold that is no integer; what stays possible is left to the judge.
    """
    gold = gold.strip().removeprefix("$")
    if len(gold) >= 100 or not gold.isascii() or not _NUMBER.fullmatch(gold):
        return False
    wanted = Fraction(gold.replace(",", ""))
    text = unicodedata.normalize("NFKC", answer).replace("{,}", ",")
    if wanted.denominator != 1 and _PART_WORDS.search(text):
        return False
    scales = _SCALES if _SCALE_WORDS.search(text) else _SCALES[:1]
    spelled = (sum(_WORTH[word.lower()] for word in groups if word) for groups in _SPELLED.findall(text))
    numbers = [Fraction(found.replace(",", "")) for found in _NUMBER.findall(text)] or [Fraction(n) for n in spelled]
    return not numbers or any(all(number * scale != wanted for scale in scales) for number in numbers)


def _surely_differ(gold: str, other: str) -> bool:
    # Golds of two datasets may be one value in two guises, so only plain different numbers and words will do.
    plain = all(re.fullmatch(r"-?\d+|[A-Za-z]{2,}", text) for text in (gold, other))
    return plain and gold.casefold() != other.casefold() and (gold.isalpha() or rules_out(gold, other))
