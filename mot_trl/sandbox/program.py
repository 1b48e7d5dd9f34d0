"""An untrusted program as its supervisor sees it: calls go in, bounded data comes out, and a clock runs."""

import contextlib
import os
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from mot_trl.sandbox import codec
from mot_trl.sandbox.channel import Channel, ClosedError, DeadlineError, deadline
from mot_trl.sandbox.config import PATIENCE

START_SECONDS = 30
_PARSING_RECURSION = 3_000
_WORTH_A_LOOK = 0.05  # seconds below which the kernel is not asked who waited for what


class ProgramError(Exception):
    """The program raised."""


class EndedError(BaseException):
    """The program cannot be asked anything more; not an Exception, so that no test can catch it."""

    def __init__(self, status: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


@dataclass
class Stopwatch:
    """The program's own time: while an answer is awaited, less what it waited for a CPU."""

    limit: float  # seconds for all laps (tests) together
    lap_limit: float  # seconds for each lap
    parent: int  # the zygote, whose youngest child is the program's process
    proc: int  # an open /proc, or -1 if waiting for a CPU cannot be measured
    _waited: float = 0.0
    _started: float | None = None
    _lap_wall: float = 0.0
    _lap_seconds: float = 0.0

    def start(self) -> None:
        """Start counting."""
        self._started = time.monotonic()

    def stop(self) -> None:
        """Stop counting."""
        self._waited = self._wall()
        self._started = None

    def lap(self) -> None:
        """Begin another lap."""
        self._lap_wall, self._lap_seconds = self._wall(), self.seconds()

    def seconds(self) -> float:
        """The program's own time so far."""
        wall = self._wall()
        if wall < _WORTH_A_LOOK:
            return wall
        computed, queued = self._cpu_seconds()
        # Some of the queueing was before the first start, so `wall - queued` can be too little; `computed` cannot be
        # too much but for several threads, so `wall` bounds it.
        return min(wall, max(computed, wall - queued))

    def remaining(self) -> float:
        """Seconds left; 0 or less when time is up."""
        wall = self._wall()
        lap_wall = wall - self._lap_wall
        # While even the wall clock is within both limits, the program's own time is, too.
        if (left := min(self.limit - wall, self.lap_limit - lap_wall)) > 0:
            return left
        seconds = self.seconds()
        own = min(self.limit - seconds, self.lap_limit - (seconds - self._lap_seconds))
        return min(own, PATIENCE * self.limit - wall, PATIENCE * self.lap_limit - lap_wall)

    def _wall(self) -> float:
        return self._waited + (0.0 if self._started is None else time.monotonic() - self._started)

    def _cpu_seconds(self) -> tuple[float, float]:
        """Seconds the process has had a CPU, and seconds it has waited for one; zeros if unknown."""
        with contextlib.suppress(OSError, ValueError):
            # Looked up, as the zygote may know its child by a number of its own process list.
            *_, child = self._read(f"{self.parent}/task/{self.parent}/children").split()
            computed, queued, _ = map(int, self._read(f"{child}/schedstat").split())
            return computed / 1e9, queued / 1e9
        return 0.0, 0.0

    def _read(self, path: str) -> str:
        with open(os.open(path, os.O_RDONLY, dir_fd=self.proc)) as file:
            return file.read()


@contextlib.contextmanager
def _reading_answers() -> Generator[None]:
    """Turn whatever a bad answer leads to into EndedError: it is the program's failure, never the sandbox's."""
    try:
        yield
    except DeadlineError:
        raise EndedError("timeout", "Its time was up.") from None
    except ClosedError:
        raise EndedError("crashed", "Its process ended.") from None
    except codec.TooLargeError as error:
        raise EndedError("overflow", str(error)) from None
    except codec.CodecError as error:
        raise EndedError("crashed", f"It broke the protocol: {error}") from None


class Program:
    """The program seen from outside. Each request gets exactly one answer, which is read against the stopwatch.

    An answer written ahead of its request is taken for that request's answer; it is still only data, which tests
    compare with expected values that the guest never sees. So a forged frame gains nothing over a wrong answer.
    """

    def __init__(self, channel: Channel, stopwatch: Stopwatch) -> None:
        self._channel = channel
        self.stopwatch = stopwatch
        self.raised = False
        self.classes: dict[str, Any] = {}  # ListNode and TreeNode, once the prelude has defined them

    def await_start(self) -> None:
        """Wait until the guest has applied its layers. If it fails before it has a program, the sandbox has failed."""
        answer = self._channel.receive(deadline(START_SECONDS))
        if answer != {"ready": True}:
            raise RuntimeError(f"The program's process was not confined: {str(answer)[:500]}")
        if self._channel.hung_up():
            raise RuntimeError("The program's process died before it had a program.")

    def ask(self, message: object | None) -> dict[str, Any]:
        """Send `message`, if any, and return the answer; EndedError means that it was late or not worth reading."""
        limit = sys.getrecursionlimit()
        self.stopwatch.start()
        try:
            with _reading_answers():
                if message is not None:
                    self._channel.send(message, self.stopwatch.remaining)
                # Deep nesting must fail in the parser, long before it reaches the end of the stack.
                sys.setrecursionlimit(_PARSING_RECURSION)
                answer = self._channel.receive(self.stopwatch.remaining)
        finally:
            sys.setrecursionlimit(limit)
            self.stopwatch.stop()
        if not isinstance(answer, dict):
            raise EndedError("crashed", "It broke the protocol.")
        if "overflow" in answer:
            raise EndedError("overflow", str(answer["overflow"])[:500])
        return answer

    def request(self, do: str, target: str | int, **fields: Any) -> dict[str, Any]:
        """Have something done to an object in the program, and return the answer with the encoded value."""
        answer = self.ask({"do": do, "target": target, **fields})
        if "raised" in answer or "value" not in answer:
            self.raised = True
            raise ProgramError(str(answer.get("raised"))[:500])
        return answer

    def call(self, target: str | int, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """Call an object in the program; lists, sets and dicts among the arguments are changed as it changed them."""
        inputs = [list(arguments), keywords]
        answer = self.request("call", target, inputs=codec.encode(inputs, keep=_number_of))
        if "inputs" in answer:
            _write_back(inputs, self.decode(answer["inputs"]))
        return self.decode(answer["value"])

    def decode(self, message: object) -> Any:
        """What the program has sent, with stand-ins for its own objects."""
        with _reading_answers():
            return codec.decode(message, classes=self.classes, find=lambda number: Remote(self, number))


def _write_back(inputs: list[Any], changed: object) -> None:
    match changed:
        case [list(arguments), dict(keywords)]:
            pairs = [*zip(inputs[0], arguments, strict=False)]
            pairs += [(before, keywords.get(name)) for name, before in inputs[1].items()]
            for before, after in pairs:
                if type(before) is type(after) and type(before) in (list, set, dict):
                    before.clear()
                    (before.extend if type(before) is list else before.update)(after)


def _number_of(value: object) -> int:
    """Of a stand-in, which is sent as the object it stands for."""
    if type(value) is Remote:
        return object.__getattribute__(value, "_target")
    raise codec.CodecError(f"A {type(value).__name__} is not data.")


class Remote:
    """A stand-in for an object inside the program.

    It equals only itself: if comparing asked the program, an object that equals everything would pass every test. Its
    target is the name of an entry point, or the number of a kept object.
    """

    def __init__(self, program: Program, target: str | int) -> None:
        object.__setattr__(self, "_program", program)
        object.__setattr__(self, "_target", target)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """Call the object, and return data, or a stand-in."""
        return self._program.call(self._target, arguments, keywords)

    def __getattr__(self, name: str) -> Any:
        """The object's attribute, as data, or a stand-in."""
        return self._program.decode(self._program.request("get", self._target, name=name)["value"])

    def __setattr__(self, name: str, value: object) -> None:
        """Set the object's attribute."""
        self._program.request("set", self._target, name=name, value=codec.encode(value, keep=_number_of))

    def __bool__(self) -> bool:
        """The object's truth value."""
        return self._program.decode(self._program.request("truth", self._target)["value"]) is True
