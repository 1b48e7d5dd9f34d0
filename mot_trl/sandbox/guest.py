"""The untrusted process: loads a program and answers calls, with data only. It holds nothing worth stealing."""

import contextlib
import importlib
import os
import socket
import sys
import types
from typing import Any, NoReturn

from mot_trl.sandbox import apply as confine
from mot_trl.sandbox import codec
from mot_trl.sandbox.channel import Channel, ClosedError
from mot_trl.sandbox.config import LayerError

_MAX_KEPT = 10_000
_ENCODING_DEPTH = 5_000
_REHEARSALS = 10


def run(steps: confine.Steps) -> NoReturn:
    """Confine this process, then serve the supervisor at the other end of CHANNEL_FD until it hangs up."""
    # Whatever happens here, from a bug to a program that closes the channel, is seen by the supervisor as an answer
    # that is wrong or never comes.
    with contextlib.suppress(BaseException):
        channel = Channel(confine.CHANNEL_FD)
        try:
            confine.put_on(steps)
        except LayerError as error:
            channel.send({"failed": str(error)})
            raise
        channel.send({"ready": True})
        _Candidate(channel).serve()
    os._exit(0)


def rehearse() -> None:
    """Serve a few harmless jobs in the zygote itself, so that no program's process meets this code cold."""
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
                _Candidate(Channel(theirs.fileno())).serve()
    sys.modules.pop("program", None)


def _words(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"[:500].encode("ascii", "backslashreplace").decode()
    except BaseException:
        return "An exception that cannot be described"


class _Candidate:
    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._kept: list[object] = []
        self._names: dict[str, Any] = {}

    def serve(self) -> None:
        if not self._load(self._channel.receive()):
            return
        while True:
            self._channel.send(self._answer(self._channel.receive()))

    def _load(self, message: dict[str, Any]) -> bool:
        module = types.ModuleType("program")
        sys.modules["program"] = module
        names = module.__dict__
        try:
            if message["prelude"]:
                exec(compile(message["prelude"], "<prelude>", "exec"), names)
            code = compile(message["program"], "<program>", "exec", dont_inherit=True)
        except BaseException as error:
            self._channel.send({"invalid": _words(error)})
            return False
        # Sent before any of the program has run: this much it cannot forge.
        self._channel.send({"compiled": True})
        try:
            exec(code, names)
            self._names = {name: self._resolve(path, names) for name, path in message["entry_points"]}
        except BaseException as error:
            self._channel.send({"raised": _words(error)})
            return False
        self._module = names
        self._channel.send({"loaded": True})
        return True

    @staticmethod
    def _resolve(path: str, names: dict[str, Any]) -> Any:
        if path in names:
            return names[path]
        module, colon, name = path.partition(":")
        return getattr(importlib.import_module(module), name) if colon else eval(path, names)

    def _answer(self, message: dict[str, Any]) -> dict[str, Any]:
        try:
            value, inputs = self._perform(message)
        except BaseException as error:
            return {"raised": _words(error)}
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(max(limit, _ENCODING_DEPTH))
        try:
            answer = {"value": codec.encode(value, keep=self._keep)}
            # Only what the call has changed goes back; it is for lists that the tests look at again.
            with contextlib.suppress(codec.CodecError):
                if inputs and (now := codec.encode(inputs, keep=self._keep)) != message["inputs"]:
                    answer["inputs"] = now
            codec.dumps(answer)
        except codec.TooLargeError as error:
            return {"overflow": str(error)}
        except BaseException as error:
            return {"raised": _words(error)}
        finally:
            sys.setrecursionlimit(limit)
        return answer

    def _perform(self, message: dict[str, Any]) -> tuple[object, list[Any]]:
        target = message["target"]
        subject: Any = self._names[target] if isinstance(target, str) else self._kept[target]
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
        for number, kept in enumerate(self._kept):
            if kept is value:
                return number
        if len(self._kept) >= _MAX_KEPT:
            raise codec.TooLargeError(f"More than {_MAX_KEPT:,} objects.")
        self._kept.append(value)
        return len(self._kept) - 1
