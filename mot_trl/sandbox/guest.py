"""The guest: the untrusted process, which loads one program and answers what is asked of it with data.

It holds nothing worth stealing: no test, no expected value, no open file but its channel. The supervisor takes what it
sends for an answer and nothing more, so the program may overwrite everything here.
"""

import contextlib
import importlib
import os
import socket
import sys
import threading
import types
from collections.abc import Iterator
from functools import reduce
from typing import Any, NoReturn

from mot_trl.sandbox import apply, codec, errors
from mot_trl.sandbox.channel import Channel, ClosedError
from mot_trl.sandbox.config import LayerError
from mot_trl.sandbox.objects import OPERATIONS, Remote, target_of

_MAX_KEPT = 10_000
_ENCODING_DEPTH = 5_000
_REHEARSALS = 10
_ENCODED = ("data",)  # operations that encode their value themselves


def run(steps: apply.Steps) -> NoReturn:
    """Apply the layers to this process, then serve the supervisor at the other end of CHANNEL_FD until it hangs up."""
    # Whatever happens here is seen by the supervisor as an answer that is wrong or never comes.
    with contextlib.suppress(BaseException):
        channel = Channel(apply.CHANNEL_FD)
        try:
            apply.apply_steps(steps)
        except LayerError as error:
            channel.send({"failed": str(error)})
            raise
        channel.send({"ready": True})
        _Guest(channel).serve()
    os._exit(0)


def rehearse() -> None:
    """Serve harmless jobs in the zygote: Python specializes code by writing to it, and children would copy pages."""
    for _ in range(_REHEARSALS):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            supervisor = Channel(ours.fileno())
            program = "def add(a, b):\n    return a + b\n"
            supervisor.send({"program": program, "prelude": "", "entry_points": [["add", "add"]]})
            for arguments in ([1, 2], [[1], [2]], ["a", "b"], [1.5, 2.5]):
                supervisor.send({"do": "call", "target": "add", "inputs": [arguments, {"dict": []}]})
            ours.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ClosedError):
                _Guest(Channel(theirs.fileno())).serve()
    sys.modules.pop("program", None)


def _describe(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"[:500].encode("ascii", "backslashreplace").decode()
    except BaseException:  # the exception is the program's, and so is its __str__
        return "An exception that cannot be described"


class _Guest:
    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._module: dict[str, Any] = {}
        self._entry_points: dict[str, Any] = {}
        self._classes: dict[str, Any] = {}  # those that the prelude defines, so that the tests have them, too
        self._kept: list[object] = []
        self._numbers: dict[int, int] = {}  # of those kept, by id
        self._handed: dict[int, object] = {}  # stand-ins for the tests' objects, by number
        self._handed_numbers: dict[int, int] = {}  # and the reverse, by id
        self._asking = threading.RLock()  # a program's threads may call what the tests handed to it

    def serve(self) -> None:
        loaded = self._load(self._channel.receive())
        while loaded:
            self._channel.send(self._answer(self._channel.receive()))

    def _load(self, message: dict[str, Any]) -> bool:
        module = sys.modules["program"] = types.ModuleType("program")
        names = self._module = module.__dict__
        try:
            if message["prelude"]:
                exec(compile(message["prelude"], "<prelude>", "exec"), names)
            own = [name for name, value in names.items() if isinstance(value, type) and value.__module__ == "program"]
            code = compile(message["program"], "<program>", "exec", dont_inherit=True)
        except BaseException as error:
            self._channel.send({"invalid": _describe(error)})
            return False
        # Sent before any of the program has run: this much it cannot forge.
        self._channel.send({"compiled": True})
        try:
            exec(code, names)
            self._classes = {name: names[name] for name in own if isinstance(names.get(name), type)}
            self._entry_points = {name: self._resolve(path) for name, path in message["entry_points"]}
            raisable = {
                name: [errors.type_name(kind) for kind in value.__mro__]
                for name, value in self._entry_points.items()
                if isinstance(value, type) and issubclass(value, BaseException)
            }
        except BaseException as error:
            self._channel.send({"raised": _describe(error)})
            return False
        self._channel.send({"loaded": True, "errors": raisable})
        return True

    def _resolve(self, path: str) -> Any:
        if path in self._module:
            return self._module[path]
        module, colon, name = path.partition(":")
        return getattr(importlib.import_module(module), name) if colon else eval(path, self._module)

    def _answer(self, message: dict[str, Any]) -> dict[str, Any]:
        try:
            value, inputs = self._perform(message)
        except BaseException as error:
            return self._raised(error)
        # The program may have left a limit too low for the encoder.
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(max(limit, _ENCODING_DEPTH))
        try:
            answer = {"value": value if message["do"] in _ENCODED else self._encode(value)}
            # Tests may look again at lists, sets and dicts that they passed: those that have changed go back.
            with contextlib.suppress(codec.CodecError):
                if inputs and (now := self._encode(inputs)) != message["inputs"]:
                    answer["inputs"] = now
            codec.dumps(answer)
        except codec.TooLargeError as error:
            return {"overflow": str(error)}
        except BaseException as error:
            return {"raised": _describe(error)}
        finally:
            sys.setrecursionlimit(limit)
        return answer

    def _raised(self, error: BaseException) -> dict[str, Any]:
        answer: dict[str, Any] = {"raised": _describe(error)}
        # As above: the exception is the program's.
        with contextlib.suppress(BaseException):
            full = {**answer, "types": errors.describe(error), "text": str(error), **self._keep(error)}
            codec.dumps(full := {**full, "arguments": self._encode(list(error.args))})
            return full
        return answer

    def _perform(self, message: dict[str, Any]) -> tuple[object, list[Any]]:
        """The value asked for, and the arguments as a call left them."""
        do, target = message["do"], message["target"]
        subject = self._entry_points[target] if isinstance(target, str) else self._kept[target]
        if do == "state":
            return [type(subject), codec.state(subject), subject], []
        if do == "data":
            if "object" in (value := [self._encode(subject)])[0]:
                raise TypeError(f"A {type(subject).__name__} is not data.")
            return value[0], []
        arguments, keywords = inputs = self._decode(message["inputs"])
        value = OPERATIONS[do](subject, *arguments, **keywords)
        # What a test makes by a class of the program is an object to it, even if the class is a kind of list.
        if isinstance(subject, type) and subject.__module__ == "program" and isinstance(value, subject):
            value = codec.Kept(value)
        return value, inputs if do == "call" else []

    def _encode(self, value: object) -> Any:
        if codec.is_plain(value):
            return value
        return codec.encode(value, keep=self._keep, classes=self._classes)

    def _decode(self, message: object) -> Any:
        return codec.decode(message, classes=self._classes, find=self._find)

    def _keep(self, value: object) -> dict[str, Any]:
        """The number under which the supervisor can ask for an object again."""
        if id(value) in self._handed_numbers:
            return {"handed": self._handed_numbers[id(value)]}
        if id(value) not in self._numbers:
            if len(self._kept) >= _MAX_KEPT:
                raise codec.TooLargeError(f"More than {_MAX_KEPT:,} objects.")
            self._numbers[id(value)] = len(self._kept)
            self._kept.append(value)
        return {"object": self._numbers[id(value)]}

    def _find(self, kind: str, body: Any) -> Any:
        match kind:
            case "object":
                return self._entry_points[body] if isinstance(body, str) else self._kept[body]
            case "handed":
                if body[0] not in self._handed:
                    stand_in = self._handed[body[0]] = self._stand_in(*body)
                    self._handed_numbers[id(stand_in)] = body[0]
                return self._handed[body[0]]
            case "import":
                module, path = body
                return reduce(getattr, path.split(".") if path else (), importlib.import_module(module))
            case "reduced":
                return _rebuilt(*self._decode(body))
        raise codec.CodecError(f"Unknown kind of value {kind!r}.")

    def _stand_in(self, number: int, how: str, name: str) -> Any:
        """A function, a generator or an object that asks the tests, in whose process the real one is."""
        stand_in = Remote(self, number)
        if how == "iterator":
            return _items(stand_in)
        if how == "object":
            return stand_in

        def function(*arguments: Any, **keywords: Any) -> Any:
            return stand_in(*arguments, **keywords)

        function.__name__ = function.__qualname__ = name
        return function

    def operate(self, subject: Remote, name: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """Ask the tests to do something with an object of theirs."""
        message = {"ask": name, "target": target_of(subject), "inputs": self._encode([list(arguments), keywords])}
        with self._asking:
            self._channel.send(message)
            # What the tests do may itself ask something of the program.
            while "do" in (answer := self._channel.receive()):
                self._channel.send(self._answer(answer))
        if "types" in answer:
            raise errors.make(errors.local_type(answer["types"]), self._decode(answer["arguments"]))
        return self._decode(answer["value"])

    def equals(self, subject: Remote, other: object) -> bool:
        """Ask the tests whether an object of theirs equals `other`."""
        return other is subject or self.operate(subject, "equal", (other,), {})


def _items(iterator: Any) -> Iterator[Any]:
    while True:
        try:
            item = next(iterator)
        except StopIteration:
            return
        yield item


def _rebuilt(make: Any, arguments: tuple, state: Any = None, items: Any = None, pairs: Any = None) -> Any:
    """An object made from what `object.__reduce_ex__` says of it."""
    found = make(*arguments)
    if state is not None and hasattr(found, "__setstate__"):
        found.__setstate__(state)
    elif state is not None:
        found.__dict__.update(state)
    if items is not None:
        found.extend(items)
    for key, value in pairs or ():
        found[key] = value
    return found
