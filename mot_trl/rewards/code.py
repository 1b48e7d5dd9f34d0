"""Rewards for programs: find the code in a completion and run it against its tests in the sandbox."""

import atexit
import importlib.util
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from mot_trl.rewards.answer import completion_text
from mot_trl.rewards.code_block import code_block
from mot_trl.sandbox import Job, ProgramRunner, Result

COLUMNS = ("prompt", "task_id", "tests", "entry_points", "prelude", "setup")

# Imported in the zygote where they are installed: a fresh import of NumPy costs more than most programs.
_USUAL_LIBRARIES = ("numpy", "sortedcontainers")
_CACHED_RESULTS = 2_048
LogMetric = Callable[[str, float], None]


def job(program: str, row: dict[str, Any]) -> Job:
    """The sandbox's job for a program and a row's `tests`, `entry_points`, `prelude` and `setup`."""
    entry_points = tuple((name, expression) for name, expression in row["entry_points"])
    return Job(program, tuple(row["tests"]), entry_points, prelude=row["prelude"], setup=row["setup"])


# Several rewards ask about the same programs, so each process has one runner and keeps its latest results.
_LATEST: OrderedDict[Job, Result] = OrderedDict()
_LOCK = threading.Lock()


@cache
def _runner() -> ProgramRunner:
    preload = [name for name in _USUAL_LIBRARIES if importlib.util.find_spec(name)]
    # LeetCodeDataset's own solutions take up to 35 s for a hundred tests; a program that hangs does so in one of them.
    runner = ProgramRunner(timeout=60.0, test_timeout=10.0, memory_mb=1024, preload=preload)
    atexit.register(runner.close)
    return runner


def _results(jobs: Sequence[Job]) -> dict[Job, Result]:
    with _LOCK:
        runner = _runner()
        known = {job: _LATEST[job] for job in jobs if job in _LATEST}
    # Not under the lock: the runner serves several threads at once.
    new = [job for job in dict.fromkeys(jobs) if job not in known]
    fresh = dict(zip(new, runner.run_many(new), strict=True))
    with _LOCK:
        # A failure of the sandbox says nothing about the program: it may be asked again.
        _LATEST.update({job: result for job, result in fresh.items() if result.judged})
        while len(_LATEST) > _CACHED_RESULTS:
            _LATEST.popitem(last=False)
    return known | fresh


def run_completions(completions: Sequence[Any], columns: dict[str, Any]) -> list[Result | None]:
    """The sandbox's result for each completion; None for one without a code block."""
    programs = [code_block(completion_text(completion)) for completion in completions]
    names = ("tests", "entry_points", "prelude", "setup")
    rows = [dict(zip(names, values, strict=True)) for values in zip(*(columns[n] for n in names), strict=True)]
    jobs = [None if program is None else job(program, row) for program, row in zip(programs, rows, strict=True)]
    results = _results([job for job in jobs if job is not None])
    return [None if job is None else results[job] for job in jobs]


@dataclass(frozen=True)
class ProgramReward:
    """A TRL reward in [0, 1] for the program in each completion; None if the sandbox cannot judge it.

    Args:
        earns: What earns the reward: see `tasks.mbpp` for the four of them.
        scoring: For "tests_pass": "all" gives 1 if every test passes, "fraction" the fraction of tests that pass.

    Raises:
        ValueError: Either name is unknown.
    """

    earns: Literal["tests_pass", "compiles", "runs", "has_code_block"]
    scoring: Literal["all", "fraction"] = "all"

    def __post_init__(self) -> None:
        """Check the names."""
        if self.scoring not in ("all", "fraction"):
            raise ValueError(f"Unknown scoring {self.scoring!r}; choose 'all' or 'fraction'.")
        if self.earns not in ("tests_pass", "compiles", "runs", "has_code_block"):
            raise ValueError(f"Unknown reward {self.earns!r}.")

    @property
    def __name__(self) -> str:
        """The name under which TRL logs the reward."""
        return "tests_fraction" if self.scoring == "fraction" else self.earns

    def __call__(
        self, completions: Sequence[Any], log_metric: LogMetric | None = None, **columns: Any
    ) -> list[float | None]:
        """One reward for each completion, in TRL's calling convention, with the columns of `load`."""
        # The only one of the rewards that runs nothing.
        if self.earns == "has_code_block":
            return [float(code_block(completion_text(completion)) is not None) for completion in completions]
        results = run_completions(completions, columns)
        if self.earns == "tests_pass":
            _report(results, log_metric)
        # No code block is the model's fault, so 0; None is for the sandbox's.
        return [0.0 if result is None else self._reward(result) for result in results]

    def _reward(self, result: Result) -> float | None:
        if not result.judged:
            return None
        if self.earns == "tests_pass" and self.scoring == "fraction":
            return sum(result.verdicts) / max(1, len(result.verdicts))
        return float({"compiles": result.compiled, "runs": result.ran, "tests_pass": result.passed}[self.earns])


def _report(results: Sequence[Result | None], log_metric: LogMetric | None) -> None:
    ran = [result for result in results if result is not None]
    unjudged = [result for result in ran if not result.judged]
    if unjudged:
        warnings.warn(f"{len(unjudged)} programs could not be judged: {unjudged[0].detail}", stacklevel=3)
    if log_metric is None or not results:
        return
    for status in ("passed", "timeout", "crashed"):
        log_metric(f"programs/{status}", sum(result.status == status for result in ran) / len(results))
    log_metric("programs/unjudged", float(len(unjudged)))
    log_metric("programs/seconds", sum(result.seconds for result in ran) / len(results))


tests_pass = ProgramReward("tests_pass")
tests_fraction = ProgramReward("tests_pass", scoring="fraction")
compiles = ProgramReward("compiles")
runs = ProgramReward("runs")
has_code_block = ProgramReward("has_code_block")
