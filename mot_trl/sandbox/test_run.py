"""Run one job in the supervisor: load the program, run the tests against it, and report the result."""

import sys
from functools import lru_cache
from types import CodeType
from typing import Any

from mot_trl.sandbox import checks, errors
from mot_trl.sandbox.errors import ProgramError
from mot_trl.sandbox.job import Result
from mot_trl.sandbox.objects import Remote
from mot_trl.sandbox.program import EndedError, Program


class TestRun:
    """One job, given as the message that the runner sent."""

    def __init__(self, program: Program, job: dict[str, Any]) -> None:
        self._program = program
        self._job = job
        self._verdicts: list[bool] = []
        self._compiled = False
        self._first_failure = ""
        self._raised = False
        self._own: dict[str, Any] = {}  # the program's exceptions among the entry points
        self._checked = False

    def result(self) -> Result:
        """Do the job."""
        self._program.await_start()
        try:
            return self._score() if self._job["kind"] == "score" else self._run_tests()
        except EndedError as end:
            return self._finish(end.status, end.detail)

    def _finish(self, status: Any, detail: str = "", *, ran: bool = False, value: object = None) -> Result:
        missing = len(self._job.get("tests", ())) - len(self._verdicts)
        return Result(
            status=status,
            verdicts=(*self._verdicts, *[False] * missing),
            seconds=round(self._program.stopwatch.seconds(), 6),
            detail=detail.encode("ascii", "backslashreplace").decode(),  # the program's words can be printed
            compiled=self._compiled,
            ran=ran,
            value=value,
        )

    def _load(self, program: str, prelude: str, entry_points: list[list[str]]) -> None:
        answer = self._program.ask({"program": program, "prelude": prelude, "entry_points": entry_points})
        if "compiled" not in answer:
            raise EndedError("invalid", str(answer.get("invalid"))[:500])
        self._compiled = True
        answer = self._program.ask(None)
        if "loaded" not in answer:
            raise EndedError("crashed", str(answer.get("raised"))[:500])
        if isinstance(raisable := answer.get("errors"), dict):
            self._program.errors = errors.own_types(raisable)
            # What tests catch by type has to be a type here; everything else is a stand-in.
            own = {name: self._program.errors.get(types[0]) for name, types in raisable.items() if types}
            self._own = {name: kind for name, kind in own.items() if kind is not None}

    def _score(self) -> Result:
        self._load("", "", [["score", self._job["function"]]])
        answer = self._program.ask({"do": "call", "target": "score", "inputs": [self._job["arguments"], {"dict": []}]})
        if "value" not in answer:
            return self._finish("crashed", str(answer.get("raised"))[:500])
        return self._finish("passed", ran=True, value=answer["value"])  # still encoded

    def _run_tests(self) -> Result:
        job = self._job
        names: dict[str, Any] = {"__name__": "tests", checks.MARK: self._mark}
        entry_points = [name for name, _ in job["entry_points"]]
        try:
            exec(compile(job["prelude"], "<prelude>", "exec"), names)
            setup, *tests = _compiled(job["setup"], tuple(job["tests"]), frozenset(entry_points))
        except Exception as error:
            return self._finish("unsupported", f"The tests cannot run: {error}"[:500])
        if not tests:
            return self._finish("unsupported", "There are no tests.")
        self._program.classes = {
            name: kind for name, kind in names.items() if isinstance(kind, type) and kind.__module__ == "tests"
        }
        self._load(job["program"], job["prelude"], job["entry_points"])
        # Only now, and only these: a program that defines `set` or `len` changes no test.
        names.update({name: self._own.get(name) or Remote(self._program, name) for name in entry_points})
        for number, code in enumerate([setup, *tests]):
            self._program.stopwatch.lap()
            held = self._holds(code, names)
            if held is None:
                return self._finish("unsupported", self._first_failure)
            if number > 0:
                self._verdicts.append(held)
            elif not held:
                return self._finish("failed", self._first_failure)
            if number > 0 and held and not self._checked:
                return self._finish("unsupported", f"Test {number} checks nothing of the program.")
        status = "passed" if all(self._verdicts) else "failed"
        return self._finish(status, self._first_failure, ran=not self._raised)

    def _mark(self, *, raised: bool = False) -> None:
        self._checked |= self._program.asked and (not raised or isinstance(sys.exc_info()[1], ProgramError))

    def _holds(self, code: CodeType, names: dict[str, Any]) -> bool | None:
        """Whether the statement runs without an exception; None if the statement itself is broken."""
        self._checked = False
        try:
            exec(code, names)
        except EndedError:
            raise
        except BaseException as error:  # what pytest raises is no Exception
            self._raised |= isinstance(error, ProgramError)
            broken = self._is_broken(error)
            line = error.line if isinstance(error, ProgramError) else f"{type(error).__name__}: {error}"
            self._first_failure = self._first_failure or str(line)[:500]
            held = None if broken else False
        else:
            held = True
        # A test that catches everything may have caught this, too.
        if self._program.ended is not None:
            raise self._program.ended
        return held

    def _is_broken(self, error: BaseException) -> bool:
        """Whether the test itself is to blame: nothing that the program does may make it look so."""
        # After another failure it often is a consequence: of the name that a failed test did not assign.
        if isinstance(error, ProgramError) or self._first_failure:
            return False
        return isinstance(error, (NameError, ImportError)) or not self._program.asked


@lru_cache(maxsize=32)
def _compiled(setup: str, tests: tuple[str, ...], names: frozenset[str]) -> list[CodeType]:
    """The setup and the tests, compiled once for all programs that are to pass them."""
    marked = checks.mark(tests, names, setup=setup)
    return [compile(setup, "<setup>", "exec"), *(compile(tree, "<test>", "exec") for tree, _ in marked)]
