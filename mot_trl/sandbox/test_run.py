"""Run one job in the supervisor: load the program, run the tests against it, and report the result."""

from typing import Any

from mot_trl.sandbox.job import Result
from mot_trl.sandbox.program import EndedError, Program, ProgramError, Remote


class TestRun:
    """One job, given as the message that the runner sent."""

    def __init__(self, program: Program, job: dict[str, Any]) -> None:
        self._program = program
        self._job = job
        self._verdicts: list[bool] = []
        self._compiled = False
        self._first_failure = ""

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

    def _score(self) -> Result:
        self._load("", "", [["score", self._job["function"]]])
        try:
            answer = self._program.request("call", "score", inputs=[self._job["arguments"], {"dict": []}])
        except ProgramError as error:
            return self._finish("crashed", str(error))
        return self._finish("passed", ran=True, value=answer["value"])  # still encoded

    def _run_tests(self) -> Result:
        job = self._job
        names: dict[str, Any] = {"__name__": "tests"}
        try:
            exec(compile(job["prelude"], "<prelude>", "exec"), names)
            setup = compile(job["setup"], "<setup>", "exec")
            tests = [compile(test, "<test>", "exec") for test in job["tests"]]
        except Exception as error:
            return self._finish("unsupported", f"The tests do not compile: {error}"[:500])
        self._program.classes = names
        self._load(job["program"], job["prelude"], job["entry_points"])
        # Only now, and only these: a program that defines `set` or `len` changes no test.
        names.update({name: Remote(self._program, name) for name, _ in job["entry_points"]})
        for number, code in enumerate([setup, *tests]):
            self._program.stopwatch.lap()
            held = self._holds(code, names)
            if held is None:
                return self._finish("unsupported", self._first_failure)
            if number > 0:
                self._verdicts.append(held)
            elif not held:
                return self._finish("failed", self._first_failure)
        ran = not self._program.raised
        return self._finish("passed" if all(self._verdicts) else "failed", self._first_failure, ran=ran)

    def _holds(self, code: Any, names: dict[str, Any]) -> bool | None:
        """Whether the statement runs without an exception; None if the statement itself is broken."""
        try:
            exec(code, names)
        except (Exception, MemoryError) as error:
            # A NameError after another failure is often its consequence: the name that a failed test did not assign.
            # What the program raises never gets here as a NameError, so it cannot make its tests look broken.
            broken = isinstance(error, NameError) and not self._first_failure
            kind = "" if isinstance(error, ProgramError) else type(error).__name__ + ": "
            self._first_failure = self._first_failure or f"{kind}{error}"[:500]
            return None if broken else False
        return True
