"""Rewards for Reasoning Gym: its own scorers, run where an answer can do no harm, and the length of the thinking."""

import json
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any, ClassVar

from mot_trl.rewards.answer import THINK_CLOSE, THINK_OPEN, completion_text, final_answer
from mot_trl.rewards.format import soft_format, tag_count
from mot_trl.sandbox import ProgramRunner, Result, Score, codec
from mot_trl.tasks.reasoning_gym.answer_grammar import is_admissible

_logger = logging.getLogger(__name__)

_SCORERS = "mot_trl.tasks.reasoning_gym.scorers"
_CHUNK = 16
_CACHED = 16_384

Row = tuple[str, str, str]  # task, entry, answer


@dataclass(frozen=True)
class ReasoningGymReward:
    """A TRL reward: what the row's data set gives for the final answer, in [0, 1]; None where it cannot be judged.

    The answer is stripped, and must pass a grammar (`reasoning_gym_grammar`): nine of the scorers run it as Python.
    Only then does the scorer see it, in the sandbox. Less than full marks count only where they are for a part of a
    solution (`reasoning_gym_scorers.PARTIAL`). A scorer that fails, hangs or needs too much memory gives 0; a sandbox
    that fails, None. No answer is 0.

    Args:
        binary: 1 for full marks, else 0.
        opened: Whether the chat template opens the thinking in the prompt (see `extract.answer_part`).
        timeout: Seconds for each answer.
        workers: Processes at a time; by default one for each processor.
        allow_weak_isolation: See `ProgramRunner`.

    Raises, when called:
        RuntimeError: This machine has too little of what the sandbox needs, and `allow_weak_isolation` is not set.
        ImportError: reasoning-gym is not installed.
    """

    binary: bool = False
    opened: bool = False
    timeout: float = 2.0
    workers: int | None = None
    allow_weak_isolation: bool = False

    @property
    def __name__(self) -> str:
        """What TRL calls the reward in its log."""
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

        Logs `<task>_accuracy`, the share of full marks (in evaluation, TRL makes it `eval_<task>_accuracy`), and
        `<task>_level`, where the rows have one.
        """
        answers = [final_answer(completion_text(completion), opened=self.opened) for completion in completions]
        scores = self._judge().scores(list(zip(task, entry, (answer or "" for answer in answers), strict=True)))
        if log_metric is not None:
            for name, scored in zip(task, scores, strict=True):
                if scored is not None:
                    log_metric(f"{name}_accuracy", float(scored == 1.0))
            for name, number in zip(task, level or [-1] * len(task), strict=True):
                if number >= 0:
                    log_metric(f"{name}_level", float(number))
        return [float(scored == 1.0) if self.binary and scored is not None else scored for scored in scores]

    def ask(self, task: Sequence[str], entry: Sequence[str], answers: Sequence[str]) -> list[float | None]:
        """What the scorers give for answers, without extraction, memory, or a look at the gold."""
        rows = list(zip(task, entry, answers, strict=True))
        found = self._judge().ask(rows)
        return [found[row] for row in rows]

    def _judge(self) -> "_Judge":
        return _judge(self.timeout, self.workers, self.allow_weak_isolation)


@cache
def _judge(timeout: float, workers: int | None, allow_weak_isolation: bool) -> "_Judge":
    runner = ProgramRunner(
        workers=workers, timeout=timeout, preload=(_SCORERS,), allow_weak_isolation=allow_weak_isolation
    )
    return _Judge(runner)


@dataclass
class _Judge:
    """Scores of answers, with those given before."""

    runner: ProgramRunner
    known: OrderedDict[Row, float] = field(default_factory=OrderedDict)

    def scores(self, rows: list[Row]) -> list[float | None]:
        """Those of rows, from memory, from a look at the gold, or from the scorers."""
        fresh = dict.fromkeys(row for row in rows if row not in self.known)
        # A gold is right, though its white space, or even itself, may not please its own scorer once stripped.
        found = self.ask([row for row in fresh if not row[2] or row[2] != _gold(row)])
        found |= {row: 1.0 for row in fresh if row not in found}
        found |= {row: self.known[row] for row in rows if row in self.known}
        self._remember({row: found[row] for row in fresh})
        return [found[row] for row in rows]

    def ask(self, rows: list[Row]) -> dict[Row, float | None]:
        """Those that the scorers give, to answers that may reach them."""
        asked: dict[Row, Any] = {}
        for row in dict.fromkeys(rows):
            task, packed, answer = row
            if is_admissible(task, answer, _gold(row)):
                unpacked = codec.decode(json.loads(packed))
                asked[row] = (task, unpacked["config"], unpacked["entry"], answer)
        return {row: 0.0 for row in rows if row not in asked} | self._run(asked)

    def _run(self, asked: dict[Row, Any]) -> dict[Row, float | None]:
        """Several answers in one process, as a process costs more than most scorers; alone, if that goes wrong."""
        rows = list(asked)
        chunks = [rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK)]
        results = self.runner.run_many([_job([asked[row] for row in chunk]) for chunk in chunks])
        found: dict[Row, float | None] = {}
        alone: list[Row] = []
        for chunk, result in zip(chunks, results, strict=True):
            scores = _values(result, len(chunk))
            if scores is None and len(chunk) > 1:
                alone += chunk
            else:
                found |= dict(zip(chunk, scores or [_failure(result)], strict=True))
        for row, result in zip(alone, self.runner.run_many([_job([asked[row]]) for row in alone]), strict=True):
            found[row] = (_values(result, 1) or [_failure(result)])[0]
        return found

    def _remember(self, found: dict[Row, float | None]) -> None:
        self.known.update({row: scored for row, scored in found.items() if scored is not None})
        while len(self.known) > _CACHED:
            self.known.popitem(last=False)


@lru_cache(maxsize=4096)
def _gold_of(packed: str) -> str:
    return str(codec.decode(json.loads(packed))["entry"]["answer"] or "").strip()


def _gold(row: Row) -> str:
    return _gold_of(row[1])


def _job(rows: list[Any]) -> Score:
    return Score(f"{_SCORERS}:score_all", (rows,))


def _values(result: Result, count: int) -> list[float] | None:
    """The scores in a result. It comes from the process that held the answers, so nothing in it is believed."""
    values = result.value
    if not result.passed or type(values) is not list or len(values) != count:
        return None
    if not all(type(value) in (int, float) for value in values):
        return None
    # Written so that a NaN is a 0.
    return [min(float(value), 1.0) if value > 0 else 0.0 for value in values]


def _failure(result: Result) -> float | None:
    """What an answer is worth that brought its process down, or that the sandbox could not look at."""
    if result.judged:
        return 0.0
    _logger.warning("An answer could not be judged: %s", result.detail)
    return None


@dataclass(frozen=True)
class ThinkingLength:
    """A TRL reward: 1 where the thinking is of a length within a window, less in proportion outside, 0 if not closed.

    Below `shortest` the reward is the share of it that is there, above `longest` it falls to 0 at twice that length.

    Args:
        shortest: Characters.
        longest: Characters.
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
        length = len(thought.rpartition(THINK_OPEN)[2].strip())
        return max(0.0, min(1.0, length / self.shortest, 2 - length / self.longest))


score = ReasoningGymReward()
accuracy = ReasoningGymReward(binary=True)
thinking_length = ThinkingLength()

SHAPING = (soft_format, thinking_length, tag_count)
"""Rewards for the form of a completion, each in [0, 1]."""

SHAPING_WEIGHTS = (0.1, 0.05, 0.05)
"""Their weights beside 1 for `score`: all together, less than the least that a partly right answer earns."""
