"""Rewards for Reasoning Gym: the score of the final answer, found in the sandbox, and the length of the thinking."""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any, ClassVar

from mot_trl.rewards.answer import THINK_CLOSE, THINK_OPEN, completion_text, final_answer
from mot_trl.rewards.format import soft_format, tag_count
from mot_trl.sandbox import codec
from mot_trl.sandbox.job import Result, Score
from mot_trl.sandbox.runner import ProgramRunner
from mot_trl.tasks.reasoning_gym.answer_grammar import is_admissible

_logger = logging.getLogger(__name__)

_SCORERS = "mot_trl.tasks.reasoning_gym.scorers"
# Answers scored in one process, which costs more to fork than most answers to score.
_CHUNK = 16
# Rewards on one batch see the same answers, and models in later batches often repeat them.
_CACHED = 16_384

Row = tuple[str, str, str]  # task, entry, answer


@dataclass(frozen=True)
class ReasoningGymReward:
    """A TRL reward: how far the final answer solves the row's problem, in [0, 1]; None if the sandbox fails.

    An answer must first pass a grammar (`answer_grammar`), and only then a scorer sees it, in the sandbox: one that
    judges it by the row and reads it as a whole, mostly of ours, as many of Reasoning Gym's pay answers that ignore
    the row. Partial credit counts only where it is for a part of a solution (`scorers.PARTIAL`). No answer is 0, and
    so is one whose scorer fails, hangs or needs too much memory.

    Args:
        binary: 1 for full marks, else 0.
        opened: Whether the chat template opens the thinking in the prompt (see `rewards.answer.answer_part`).
        timeout: Seconds for each answer.
        workers: Processes at a time; by default one for each processor.
        allow_weak_isolation: See `ProgramRunner`.

    Raises:
        RuntimeError: When called: the machine cannot isolate programs, and `allow_weak_isolation` is not set.
        ImportError: When called: reasoning-gym is not installed.
    """

    binary: bool = False
    opened: bool = False
    timeout: float = 2.0
    workers: int | None = None
    allow_weak_isolation: bool = False

    @property
    def __name__(self) -> str:
        """The name under which TRL logs the reward."""
        return "accuracy" if self.binary else "score"

    def __call__(
        self,
        completions: list,
        task: Sequence[str],
        entry: Sequence[str],
        level: Sequence[int] | None = None,
        log_metric: Callable[[str, float], None] | None = None,
        **_: Any,
    ) -> list[float | None]:
        """One reward for each completion, in TRL's calling convention.

        Logs `<task>_accuracy`, the fraction with full marks (in evaluation, TRL makes it `eval_<task>_accuracy`), and
        `<task>_level`, if the rows have one.
        """
        answers = [final_answer(completion_text(completion), opened=self.opened) for completion in completions]
        # An empty answer, like none, is refused by the grammar and so is 0.
        scores = self._scorer().scores(list(zip(task, entry, (answer or "" for answer in answers), strict=True)))
        if log_metric is not None:
            for name, scored, number in zip(task, scores, level or [-1] * len(task), strict=True):
                if scored is not None:
                    log_metric(f"{name}_accuracy", float(scored == 1.0))
                if number >= 0:
                    log_metric(f"{name}_level", float(number))
        return [float(scored == 1.0) if self.binary and scored is not None else scored for scored in scores]

    def ask(self, task: Sequence[str], entry: Sequence[str], answers: Sequence[str]) -> list[float | None]:
        """The scorers' own scores of answers: without extraction, cache, or a comparison with the gold."""
        rows = list(zip(task, entry, answers, strict=True))
        found = self._scorer().ask(rows)
        return [found[row] for row in rows]

    def _scorer(self) -> "_Scorer":
        return _scorer(self.timeout, self.workers, self.allow_weak_isolation)


@cache
def _scorer(timeout: float, workers: int | None, allow_weak_isolation: bool) -> "_Scorer":
    """One for all rewards with these settings: `score` and `accuracy` ask about the same answers."""
    return _Scorer(
        ProgramRunner(workers=workers, timeout=timeout, preload=(_SCORERS,), allow_weak_isolation=allow_weak_isolation)
    )


@dataclass
class _Scorer:
    """Scores answers in the sandbox, and caches the scores."""

    runner: ProgramRunner
    known: dict[Row, float] = field(default_factory=dict)

    def scores(self, rows: list[Row]) -> list[float | None]:
        """The rows' scores from the cache, by comparison with the gold, or from the scorers."""
        fresh = dict.fromkeys(row for row in rows if row not in self.known)
        # A gold is right, though once stripped it may not please its own scorer.
        right = {row: 1.0 for row in fresh if row[2] and row[2] == _gold(row[1])}
        found = self.known | right | self.ask([row for row in fresh if row not in right])
        # A failure of the sandbox is not cached: the answer may be asked about again.
        self.known.update((row, scored) for row in fresh if (scored := found[row]) is not None)
        for oldest in list(self.known)[:-_CACHED]:
            del self.known[oldest]
        return [found[row] for row in rows]

    def ask(self, rows: list[Row]) -> dict[Row, float | None]:
        """The scorers' scores of the answers that the grammar admits; 0 for the others."""
        asked = [row for row in dict.fromkeys(rows) if is_admissible(row[0], row[2], _gold(row[1]))]
        return dict.fromkeys(rows, 0.0) | self._run(asked, _CHUNK)

    def _run(self, rows: list[Row], size: int) -> dict[Row, float | None]:
        """The scores of answers, `size` to a process; those of a process that fails are asked again one by one."""
        chunks = [rows[start : start + size] for start in range(0, len(rows), size)]
        jobs = [Score(f"{_SCORERS}:score_all", ([_arguments(*row) for row in chunk],)) for chunk in chunks]
        found: dict[Row, float | None] = {}
        alone: list[Row] = []
        for chunk, result in zip(chunks, self.runner.run_many(jobs), strict=True):
            scores = _values(result, len(chunk))
            if scores is None and len(chunk) > 1:
                alone += chunk
            else:
                found |= zip(chunk, scores or [_failure(result)], strict=True)
        return found | self._run(alone, 1) if alone else found


def _arguments(task: str, packed: str, answer: str) -> tuple[str, dict[str, Any], dict[str, Any], str]:
    unpacked = codec.decode(json.loads(packed))
    return task, unpacked["config"], unpacked["entry"], answer


@lru_cache(maxsize=4096)
def _gold(packed: str) -> str:
    return str(codec.decode(json.loads(packed))["entry"]["answer"] or "").strip()


def _values(result: Result, count: int) -> list[float] | None:
    """The scores in a result, checked: it comes from the process that held the untrusted answers."""
    values = result.value
    if not result.passed or type(values) is not list or len(values) != count:
        return None
    if not all(type(value) in (int, float) for value in values):
        return None
    # A NaN is not above 0 either, and becomes a 0.
    return [min(float(value), 1.0) if value > 0 else 0.0 for value in values]


def _failure(result: Result) -> float | None:
    """The score of an answer that brought its process down: 0, or None if it is the sandbox that failed."""
    if result.judged:
        return 0.0
    _logger.warning("An answer could not be judged: %s", result.detail)
    return None


@dataclass(frozen=True)
class ThinkingLength:
    """A TRL reward: 1 if the length of the thinking is within a window, less in proportion outside, 0 if not closed.

    Below `shortest` characters the reward is the fraction that is there; above `longest` it falls to 0 at twice that.

    Raises:
        ValueError: Not 0 < `shortest` <= `longest`.
    """

    shortest: int = 100
    longest: int = 4000

    __name__: ClassVar[str] = "thinking_length"

    def __post_init__(self) -> None:
        """Check the window."""
        if not 0 < self.shortest <= self.longest:
            raise ValueError(
                f"`shortest={self.shortest}` must be above 0, and `longest={self.longest}` at least that."
            )

    def __call__(self, completions: list, **_: Any) -> list[float]:
        """One reward for each completion, in TRL's calling convention."""
        return [self._score(completion_text(completion)) for completion in completions]

    def _score(self, text: str) -> float:
        thought, closed, _ = text.partition(THINK_CLOSE)
        if not closed:
            return 0.0
        # Only what follows the last opening tag, should the model have opened the phase twice.
        length = len(thought.rpartition(THINK_OPEN)[2].strip())
        return max(0.0, min(1.0, length / self.shortest, 2 - length / self.longest))


score = ReasoningGymReward()
accuracy = ReasoningGymReward(binary=True)
thinking_length = ThinkingLength()

SHAPING = (soft_format, thinking_length, tag_count)
"""Rewards for the form of a completion, each in [0, 1]."""

SHAPING_WEIGHTS = (0.1, 0.05, 0.05)
"""Their weights beside 1 for `score`: together less than the least score of a partly right answer."""
