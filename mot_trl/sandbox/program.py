"""An untrusted program as its supervisor sees it: questions go in, bounded data comes out, and a clock runs."""

import contextlib
import enum
import sys
from collections import deque
from collections.abc import Generator, Sequence
from typing import Any

from mot_trl.sandbox import codec, errors
from mot_trl.sandbox.channel import Channel, ClosedError, DeadlineError, deadline
from mot_trl.sandbox.errors import ProgramError
from mot_trl.sandbox.handing import HandedError, Handing
from mot_trl.sandbox.objects import OPERATIONS, WEIGHING, Remote, is_named, peer_of, target_of
from mot_trl.sandbox.stopwatch import Stopwatch

START_SECONDS = 30
_PARSING_RECURSION = 3_000
# Deeper than what the program may send, so that tests can pass it on.
_SENT_DEPTH = codec.MAX_DEPTH + 20
_MUCH = 1 << 16  # bytes
_MAX_COMPARED = 1_000
_TEXT = 100_000  # characters of what an exception says of itself


class EndedError(BaseException):
    """The program cannot be asked anything more; not an Exception, so that no test can catch it."""

    def __init__(self, status: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


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
        self.asked = False  # anything, since it was loaded
        self.ended: EndedError | None = None
        self.classes: dict[str, Any] = {}  # those that the prelude defines, so that the program has them, too
        self.errors: dict[str, type[ProgramError]] = {}  # the program's own exceptions that tests name
        self._handing = Handing()
        self._received_much = False
        self._told = 0  # bytes of questions about what tests handed to it
        self._compared: set[tuple[object, object]] | None = None

    def await_start(self) -> None:
        """Wait until the guest has applied its layers. If it fails before it has a program, the sandbox has failed."""
        answer = self._channel.receive(deadline(START_SECONDS))
        if answer != {"ready": True}:
            raise RuntimeError(f"The program's process was not confined: {str(answer)[:500]}")
        if self._channel.hung_up():
            raise RuntimeError("The program's process died before it had a program.")

    def ask(self, message: object | None) -> dict[str, Any]:
        """Send `message`, if any, and return the answer; EndedError means that it was late or not worth reading."""
        if self.ended is not None:  # a test may have caught it
            raise self.ended
        try:
            answer = self._exchange(message)
            while "ask" in answer:
                answer = self._exchange(self._serve(answer))
        except EndedError as end:
            self.ended = end
            raise
        return answer

    def _exchange(self, message: object | None) -> dict[str, Any]:
        limit = sys.getrecursionlimit()
        self.stopwatch.start()
        try:
            with _reading_answers():
                if message is not None:
                    self._send(message)
                # Deep nesting must fail in the parser, long before it reaches the end of the stack.
                sys.setrecursionlimit(_PARSING_RECURSION)
                answer = self._channel.receive(self.stopwatch.remaining)
                self._received_much |= self._channel.received > _MUCH
        finally:
            sys.setrecursionlimit(limit)
            self.stopwatch.stop()
        if not isinstance(answer, dict):
            raise EndedError("crashed", "It broke the protocol.")
        if "overflow" in answer:
            raise EndedError("overflow", str(answer["overflow"])[:500])
        return answer

    def _send(self, message: object) -> None:
        try:
            self._channel.send(message, self.stopwatch.remaining)
        except codec.TooLargeError as error:
            raise self._unsendable(error) from None

    def _serve(self, question: dict[str, Any]) -> dict[str, Any]:
        """Do what the program asks of an object that a test has handed to it."""
        self._told += self._channel.received
        if self._told > codec.MAX_BYTES:
            raise EndedError("overflow", "It told the tests too much.")
        with _reading_answers():
            subject, do = self._handing.operation(question)
        try:
            arguments, keywords = self.decode(question.get("inputs"))
            return {"value": self.encode(self._handing.perform(subject, do, arguments, keywords))}
        except Exception as error:
            return {"types": errors.describe(error), "arguments": self.encode([str(part) for part in error.args])}

    def request(
        self, do: str, target: str | int, arguments: Sequence[Any] = (), keywords: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Have something done to an object in the program, and return the answer with the encoded value."""
        self.asked = True
        inputs = [list(arguments), keywords or {}]
        encoded = self.encode(inputs)
        answer = self.ask({"do": do, "target": target, "inputs": encoded})
        if "raised" in answer or "value" not in answer:
            raise self._error(answer)
        if "inputs" in answer:
            _write_back(inputs, self.decode(answer["inputs"]))
        return answer

    def _error(self, answer: dict[str, Any]) -> ProgramError:
        names = [name for name in answer.get("types") or () if isinstance(name, str)]
        arguments = self.decode(answer.get("arguments"))
        error = errors.make(errors.error_type(names, self.errors), arguments if isinstance(arguments, list) else ())
        error.text, error.line = str(answer.get("text", ""))[:_TEXT], str(answer.get("raised"))[:500]
        if type(answer.get("object")) is int:
            error.raised = Remote(self, answer["object"])
        return error

    def encode(self, value: object) -> Any:
        """What tests send to the program; UnsupportedError if it cannot cross."""
        try:
            return codec.encode(value, keep=self._keep, classes=self.classes, depth=_SENT_DEPTH)
        except (codec.TooLargeError, HandedError) as error:
            self.ended = self._unsendable(error)
            raise self.ended from None

    def _unsendable(self, error: Exception) -> EndedError:
        # If the program has sent much, it may be what the test sends on: then it is not the test's fault.
        by_program = self._received_much and isinstance(error, codec.TooLargeError)
        return EndedError("overflow" if by_program else "unsupported", str(error))

    def _keep(self, value: object) -> dict[str, Any]:
        return self._handing.message(value, encode=self.encode, own=self)

    def decode(self, message: object) -> Any:
        """What the program has sent, with stand-ins for its own objects."""
        if not isinstance(message, (list, dict)):
            return message
        with _reading_answers():
            return codec.decode(message, classes=self.classes, find=self._find)

    def _find(self, kind: str, body: Any) -> Any:
        if type(body) is int and kind == "object":
            return Remote(self, body)
        if type(body) is int and kind == "handed":
            return self._handing.find(body)
        raise codec.CodecError(f"Unknown kind of value {str(kind)[:20]!r}.")

    def operate(self, subject: Remote, name: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """Do something with an object of the program.

        Its own code may answer questions, but may not weigh it against a value of the tests: it would be told that
        value, and could say what passes. So these are decided here, by the data that the object is, if it is data;
        except for what a class makes that the tests name, as they expect an object of that class to answer.
        """
        weighs = name in WEIGHING or name == "contains"
        if weighs and type(arguments[0]) is not Remote and not is_named(subject):
            if name == "contains":
                return any(
                    item is arguments[0] or item == arguments[0] for item in self.operate(subject, "iter", (), {})
                )
            return OPERATIONS[name](self._data(subject), *arguments)
        if name == "exit":
            arguments = (*arguments[:2], None)  # no traceback: its frames hold the tests
        target = target_of(subject)
        found = self.decode(self.request(name, target, arguments, keywords)["value"])
        if name == "call" and isinstance(target, str) and target[:1].isupper() and type(found) is Remote:
            return Remote(self, target_of(found), named=True)
        return found

    def _data(self, subject: Remote) -> Any:
        found = self.decode(self.request("data", target_of(subject))["value"])
        if type(found) is Remote:
            raise ProgramError("That is not data.")
        return found

    def equals(self, subject: Remote, other: object) -> Any:
        """Whether an object of the program equals `other`, by what they consist of, never by its own word alone."""
        if type(other) is Remote and peer_of(other) is self:
            return target_of(subject) == target_of(other) or self._alike(subject, other)
        try:
            return self._data(subject) == other
        except ProgramError:
            return NotImplemented

    def _alike(self, one: Remote, other: Remote) -> bool:
        if self._compared is not None:
            return self._same_state(one, other)
        if self.decode(self.request("equal", target_of(one), [other])["value"]) is not True:
            return False
        self._compared = set()
        try:
            return self._same_state(one, other)
        finally:
            self._compared = None

    def _same_state(self, one: Remote, other: Remote) -> bool:
        """Whether both are of one class and have equal attributes, and equal items if they are containers."""
        pair = target_of(one), target_of(other)
        if self._compared is None or pair in self._compared:
            return True
        self._compared.add(pair)
        if len(self._compared) > _MAX_COMPARED:
            self.ended = EndedError("overflow", f"More than {_MAX_COMPARED:,} objects to compare.")
            raise self.ended
        states = [self.decode(self.request("state", target)["value"]) for target in pair]
        return states[0] == states[1]


def _write_back(inputs: list[Any], changed: object) -> None:
    match changed:
        case [list(arguments), dict(keywords)]:
            pairs = [*zip(inputs[0], arguments, strict=False)]
            pairs += [(before, keywords.get(name)) for name, before in inputs[1].items()]
            for before, after in pairs:
                if type(before) is type(after):
                    _become(before, after)


def _become(before: Any, after: Any) -> None:
    """Change an argument as the program has changed its copy."""
    if isinstance(before, (list, bytearray, deque)):
        before.clear()
        before.extend(after)
    elif isinstance(before, (set, dict)):
        before.clear()
        before.update(after)
    elif type(before).__module__ == "numpy" and before.shape == after.shape and before.flags.writeable:
        before[...] = after
    elif type(before).__module__ == "tests" and not isinstance(before, (tuple, enum.Enum)):
        for name, value in codec.state(after).items():
            object.__setattr__(before, name, value)
