"""The guest: the untrusted process, which loads one program and answers calls with data only.

It holds nothing worth stealing: no test, no expected value, no open file but its channel. The supervisor takes what it
sends for an answer and nothing more, so the program may overwrite everything here.
"""

import contextlib
import importlib
import os
import socket
import sys
import types
from typing import Any, NoReturn

from mot_trl.sandbox import apply, codec
from mot_trl.sandbox.channel import Channel, ClosedError
from mot_trl.sandbox.config import LayerError

_MAX_KEPT = 10_000
_ENCODING_DEPTH = 5_000
_REHEARSALS = 10


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
        self._kept: list[object] = []

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
            code = compile(message["program"], "<program>", "exec", dont_inherit=True)
        except BaseException as error:
            self._channel.send({"invalid": _describe(error)})
            return False
        # Sent before any of the program has run: this much it cannot forge.
        self._channel.send({"compiled": True})
        try:
            exec(code, names)
            self._entry_points = {name: self._resolve(path) for name, path in message["entry_points"]}
        except BaseException as error:
            self._channel.send({"raised": _describe(error)})
            return False
        self._channel.send({"loaded": True})
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
            return {"raised": _describe(error)}
        # The program may have left a limit too low for the encoder.
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(max(limit, _ENCODING_DEPTH))
        try:
            answer = {"value": codec.encode(value, keep=self._keep)}
            # Tests may look again at lists, sets and dicts that they passed: those that have changed go back.
            with contextlib.suppress(codec.CodecError):
                if inputs and (now := codec.encode(inputs, keep=self._keep)) != message["inputs"]:
                    answer["inputs"] = now
            codec.dumps(answer)
        except codec.TooLargeError as error:
            return {"overflow": str(error)}
        except BaseException as error:
            return {"raised": _describe(error)}
        finally:
            sys.setrecursionlimit(limit)
        return answer

    def _perform(self, message: dict[str, Any]) -> tuple[object, list[Any]]:
        """The value asked for, and the arguments as the call left them."""
        target = message["target"]
        subject: Any = self._entry_points[target] if isinstance(target, str) else self._kept[target]
        match message["do"]:
            case "get":
                return getattr(subject, message["name"]), []
            case "truth":
                return bool(subject), []
            case "set":
                setattr(subject, message["name"], self._decode(message["value"]))
                return None, []
        arguments, keywords = inputs = self._decode(message["inputs"])
        return subject(*arguments, **keywords), inputs

    def _decode(self, message: object) -> Any:
        return codec.decode(message, classes=self._module, find=self._kept.__getitem__)

    def _keep(self, value: object) -> int:
        """The number under which the supervisor can ask for an object again."""
        for number, kept in enumerate(self._kept):
            if kept is value:
                return number
        if len(self._kept) >= _MAX_KEPT:
            raise codec.TooLargeError(f"More than {_MAX_KEPT:,} objects.")
        self._kept.append(value)
        return len(self._kept) - 1
