"""The trusted process beside a program: it has the tests and the clock, asks for values, and compares them itself."""

import contextlib
import os
import resource
import signal
import socket
import sys
import time
from typing import Any

from mot_trl.sandbox import candidate, codec, kernel, layers
from mot_trl.sandbox.channel import Channel, ClosedError, Deadline, DeadlineError
from mot_trl.sandbox.job import Result

# Waiting for a processor is not the program's fault, but it must end.
_PATIENCE = 5
_START_SECONDS = 30
_MEMORY_BYTES = 2 << 30


def supervise(confinement: layers.Confinement, end: socket.socket, proc: int) -> None:
    """Fork the program's process, read one job from `end`, judge it, end that process, and answer.

    Args:
        confinement: What the program's process puts on.
        end: A socket to the runner, which nobody else holds.
        proc: An open /proc, or -1.
    """
    if sys.platform == "linux":
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    if "pids" in confinement.active:
        layers.enter_private_pids()
    ours, theirs = socket.socketpair()
    # Forked before the job is read: the program's memory has never held a test.
    child = os.fork()
    if child == 0:
        candidate.run(confinement, theirs.detach())
    theirs.close()
    resource.setrlimit(resource.RLIMIT_AS, (confinement.memory_bytes + _MEMORY_BYTES,) * 2)
    sys.setrecursionlimit(20_000)
    runner = Channel(end)
    stopwatch = Stopwatch(confinement.timeout, child, proc)
    try:
        message = runner.receive(Deadline(_START_SECONDS))
        result = _Judge(_Program(Channel(ours), stopwatch), message).result()
    finally:
        _end(child)
    runner.send(result.__dict__, Deadline(_START_SECONDS))


def _end(child: int) -> None:
    for kill in (os.killpg, os.kill):  # the group, then the process, which may not have made its group yet
        with contextlib.suppress(OSError):
            kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


class Stopwatch:
    """The program's own time: runs while an answer is awaited, less what both processes waited for a processor."""

    def __init__(self, limit: float, child: int, proc: int) -> None:
        self._limit = limit
        self._tasks = (child, os.getpid())
        self._proc = proc
        self._waited = 0.0
        self._started: float | None = None
        self._queued_before = self._queued()

    def start(self) -> None:
        """Start counting."""
        self._started = time.monotonic()

    def stop(self) -> None:
        """Stop counting."""
        self._waited = self._wall()
        self._started = None

    def seconds(self) -> float:
        """The program's own time so far."""
        return max(0.0, self._wall() - (self._queued() - self._queued_before))

    def remaining(self) -> float:
        """Seconds left; 0 or less when time is up."""
        wall = self._wall()
        if wall < self._limit:
            return self._limit - wall
        return min(self._limit - self.seconds(), _PATIENCE * self._limit - wall)

    def _wall(self) -> float:
        return self._waited + (0.0 if self._started is None else time.monotonic() - self._started)

    def _queued(self) -> float:
        total = 0.0
        for task in self._tasks:
            with contextlib.suppress(OSError, ValueError, IndexError):
                file = os.open(f"{task}/schedstat", os.O_RDONLY, dir_fd=self._proc)
                with open(file) as handle:
                    total += int(handle.read().split()[1]) / 1e9
        return total


class _ProgramError(Exception):
    """The program raised."""


class _EndedError(BaseException):
    """Nothing more can be asked of the program; not an Exception, so that no test can catch it."""

    def __init__(self, status: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


class _Program:
    """The program as seen from outside: messages out, bounded data in, against its stopwatch."""

    def __init__(self, channel: Channel, stopwatch: Stopwatch) -> None:
        self._channel = channel
        self.stopwatch = stopwatch
        self.raised = False
        self.classes: dict[str, Any] = {}

    def await_start(self) -> None:
        answer = self._channel.receive(Deadline(_START_SECONDS))
        if answer != {"ready": True}:
            raise RuntimeError(f"The program's process was not confined: {str(answer)[:500]}")

    def ask(self, message: object | None) -> dict[str, Any]:
        """Send `message`, if any, and return the answer. Raises _EndedError when there is none worth reading."""
        limit = sys.getrecursionlimit()
        self.stopwatch.start()
        try:
            if message is not None:
                self._channel.send(message, self.stopwatch)
            # Deep nesting must fail in the parser, long before it reaches the end of the stack.
            sys.setrecursionlimit(3_000)
            answer = self._channel.receive(self.stopwatch)
        except DeadlineError:
            raise _EndedError("timeout", "Its time was up.") from None
        except ClosedError:
            raise _EndedError("crashed", "Its process ended.") from None
        except codec.TooLargeError as error:
            raise _EndedError("overflow", str(error)) from None
        except codec.CodecError as error:
            raise _EndedError("crashed", f"It broke the protocol: {error}") from None
        finally:
            sys.setrecursionlimit(limit)
            self.stopwatch.stop()
        if not isinstance(answer, dict):
            raise _EndedError("crashed", "It broke the protocol.")
        if "overflow" in answer:
            raise _EndedError("overflow", str(answer["overflow"])[:500])
        return answer

    def perform(self, message: dict[str, Any]) -> dict[str, Any]:
        """Like `ask`; raises _ProgramError where the program did."""
        answer = self.ask(message)
        if "raised" in answer or "value" not in answer:
            self.raised = True
            raise _ProgramError(str(answer.get("raised"))[:500])
        return answer

    def call(self, target: str | int, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        plain, named = self._encode(list(arguments)), self._encode(keywords)
        answer = self.perform({"do": "call", "target": target, "arguments": plain, "keywords": named})
        if "arguments" in answer:
            _write_back(list(arguments), self._decode(answer["arguments"]))
        return self._decode(answer["value"])

    def get(self, target: str | int, name: str) -> Any:
        return self._decode(self.perform({"do": "get", "target": target, "name": name})["value"])

    def set(self, target: str | int, name: str, value: object) -> None:
        self.perform({"do": "set", "target": target, "name": name, "value": self._encode(value)})

    def _encode(self, value: object) -> Any:
        return codec.encode(value, keep=_number_of)

    def _decode(self, message: object) -> Any:
        try:
            return codec.decode(message, classes=self.classes, find=lambda number: Remote(self, number))
        except codec.TooLargeError as error:
            raise _EndedError("overflow", str(error)) from None
        except codec.CodecError as error:
            raise _EndedError("crashed", f"It broke the protocol: {error}") from None


def _write_back(arguments: list[Any], changed: object) -> None:
    """What a program does to the lists, sets and dicts it is given, tests may look at."""
    if not isinstance(changed, list):
        return
    for before, after in zip(arguments, changed, strict=False):
        if type(before) is type(after) is list:
            before[:] = after
        elif type(before) is type(after) and type(before) in (set, dict):
            before.clear()
            before.update(after)


def _number_of(value: object) -> int:
    if type(value) is Remote:
        return object.__getattribute__(value, "_target")
    raise codec.CodecError(f"A {type(value).__name__} is not data.")


class Remote:
    """A stand-in for an object inside the program. It equals only itself and has no truth value."""

    def __init__(self, program: _Program, target: str | int) -> None:
        object.__setattr__(self, "_program", program)
        object.__setattr__(self, "_target", target)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """Call the object, and return data, or a stand-in."""
        return self._program.call(self._target, arguments, keywords)

    def __getattr__(self, name: str) -> Any:
        """The object's attribute, as data, or a stand-in."""
        return self._program.get(self._target, name)

    def __setattr__(self, name: str, value: object) -> None:
        """Set the object's attribute."""
        self._program.set(self._target, name, value)

    def __bool__(self) -> bool:
        """Refuse: a test must look at data."""
        raise TypeError("An object inside a program is neither true nor false.")


class _Judge:
    def __init__(self, program: _Program, job: dict[str, Any]) -> None:
        self._program = program
        self._job = job
        self._verdicts: list[bool] = []
        self._compiled = False
        self._first_failure = ""

    def result(self) -> Result:
        self._program.await_start()
        try:
            return self._score() if self._job["kind"] == "score" else self._run_tests()
        except _EndedError as end:
            return self._finish(end.status, end.detail)

    def _finish(self, status: Any, detail: str = "", *, ran: bool = False, value: object = None) -> Result:
        missing = len(self._job.get("tests", ())) - len(self._verdicts)
        return Result(
            status=status,
            verdicts=(*self._verdicts, *[False] * missing),
            seconds=round(self._program.stopwatch.seconds(), 6),
            detail=detail,
            compiled=self._compiled,
            ran=ran,
            value=value,
        )

    def _load(self, program: str, prelude: str, entry_points: list[list[str]]) -> None:
        message = {"program": program, "prelude": prelude, "entry_points": entry_points}
        answer = self._program.ask(message)
        if "compiled" not in answer:
            raise _EndedError("invalid", str(answer.get("invalid"))[:500])
        self._compiled = True
        answer = self._program.ask(None)
        if "loaded" not in answer:
            raise _EndedError("crashed", str(answer.get("raised"))[:500])

    def _score(self) -> Result:
        self._load("", "", [["score", self._job["function"]]])
        try:
            answer = self._program.perform(
                {"do": "call", "target": "score", "arguments": self._job["arguments"], "keywords": {"dict": []}}
            )
        except _ProgramError as error:
            return self._finish("crashed", str(error))
        return self._finish("passed", ran=True, value=answer["value"])

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
        names.update({name: Remote(self._program, name) for name, _ in job["entry_points"]})
        for number, code in enumerate([setup, *tests]):
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
        """Whether the statement runs without an exception; None where it is the statement that is broken."""
        try:
            exec(code, names)
        except (Exception, MemoryError) as error:
            broken = isinstance(error, NameError) and not self._first_failure
            self._first_failure = self._first_failure or f"{type(error).__name__}: {error}"[:500]
            return None if broken else False
        return True
