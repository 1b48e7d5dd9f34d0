"""An untrusted program as its supervisor sees it: calls go in, bounded data comes out, and a clock runs."""

import sys
from typing import Any

from mot_trl.sandbox import codec
from mot_trl.sandbox.channel import Channel, ClosedError, Deadline, DeadlineError
from mot_trl.sandbox.stopwatch import Stopwatch

START_SECONDS = 30


class ProgramError(Exception):
    """The program raised."""


class EndedError(BaseException):
    """Nothing more can be asked of the program; not an Exception, so that no test can catch it."""

    def __init__(self, status: str, detail: str) -> None:
        """Say with which of `job.Status`, and why."""
        super().__init__(detail)
        self.status, self.detail = status, detail


class Program:
    """The program as seen from outside: messages out, bounded data in, against its stopwatch."""

    def __init__(self, channel: Channel, stopwatch: Stopwatch) -> None:
        """Talk over `channel`; `classes` must be set before trees and linked lists can come back."""
        self._channel = channel
        self.stopwatch = stopwatch
        self.raised = False
        self.classes: dict[str, Any] = {}

    def await_start(self) -> None:
        """Wait until the process is confined. Raises RuntimeError if it could not be, or has died in waiting since."""
        answer = self._channel.receive(Deadline(START_SECONDS))
        if answer != {"ready": True}:
            raise RuntimeError(f"The program's process was not confined: {str(answer)[:500]}")
        if self._channel.hung_up():
            raise RuntimeError("The program's process died before it had a program.")

    def ask(self, message: object | None) -> dict[str, Any]:
        """Send `message`, if any, and return the answer. Raises EndedError when there is none worth reading."""
        limit = sys.getrecursionlimit()
        self.stopwatch.start()
        try:
            if message is not None:
                self._channel.send(message, self.stopwatch)
            # Deep nesting must fail in the parser, long before it reaches the end of the stack.
            sys.setrecursionlimit(3_000)
            answer = self._channel.receive(self.stopwatch)
        except DeadlineError:
            raise EndedError("timeout", "Its time was up.") from None
        except ClosedError:
            raise EndedError("crashed", "Its process ended.") from None
        except codec.TooLargeError as error:
            raise EndedError("overflow", str(error)) from None
        except codec.CodecError as error:
            raise EndedError("crashed", f"It broke the protocol: {error}") from None
        finally:
            sys.setrecursionlimit(limit)
            self.stopwatch.stop()
        if not isinstance(answer, dict):
            raise EndedError("crashed", "It broke the protocol.")
        if "overflow" in answer:
            raise EndedError("overflow", str(answer["overflow"])[:500])
        return answer

    def perform(self, message: dict[str, Any]) -> dict[str, Any]:
        """Like `ask`; raises ProgramError where the program did."""
        answer = self.ask(message)
        if "raised" in answer or "value" not in answer:
            self.raised = True
            raise ProgramError(str(answer.get("raised"))[:500])
        return answer

    def call(self, target: str | int, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """Call an object in the program. Raises ProgramError and EndedError, as do `get` and `set`."""
        inputs = [list(arguments), keywords]
        answer = self.perform({"do": "call", "target": target, "inputs": self._encode(inputs)})
        if "inputs" in answer:
            _write_back(inputs, self._decode(answer["inputs"]))
        return self._decode(answer["value"])

    def get(self, target: str | int, name: str) -> Any:
        """Read an attribute."""
        return self._decode(self.perform({"do": "get", "target": target, "name": name})["value"])

    def truth(self, target: str | int) -> bool:
        """Read the truth value."""
        return self._decode(self.perform({"do": "truth", "target": target})["value"]) is True

    def set(self, target: str | int, name: str, value: object) -> None:
        """Write an attribute."""
        self.perform({"do": "set", "target": target, "name": name, "value": self._encode(value)})

    def _encode(self, value: object) -> Any:
        return codec.encode(value, keep=_number_of)

    def _decode(self, message: object) -> Any:
        try:
            return codec.decode(message, classes=self.classes, find=lambda number: Remote(self, number))
        except codec.TooLargeError as error:
            raise EndedError("overflow", str(error)) from None
        except codec.CodecError as error:
            raise EndedError("crashed", f"It broke the protocol: {error}") from None


def _write_back(inputs: list[Any], changed: object) -> None:
    """What a program does to the lists, sets and dicts it is given, tests may look at."""
    match changed:
        case [list(arguments), dict(keywords)]:
            pairs = [*zip(inputs[0], arguments, strict=False)]
            pairs += [(before, keywords.get(name)) for name, before in inputs[1].items()]
            for before, after in pairs:
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
    """A stand-in for an object inside the program. It equals only itself."""

    def __init__(self, program: Program, target: str | int) -> None:
        """Stand for the entry point of that name, or the kept object of that number."""
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
        """The object's truth value, as data."""
        return self._program.truth(self._target)
