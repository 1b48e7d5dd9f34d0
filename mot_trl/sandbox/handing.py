"""What tests hand to the program that is not data: functions, iterators and objects stay with the tests, by number."""

import copyreg
import importlib
import io
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

from mot_trl.sandbox import codec
from mot_trl.sandbox.objects import OPERATIONS, Peer, Remote, peer_of, target_of

# The operations on attributes; the program may not name those that lead to frames, globals and the like.
_ATTRIBUTES = ("get", "set", "delete")
_OPEN_MODULES = ("tests", "_io")  # objects of their classes show their public attributes
_NEVER = ("instancecheck", "subclasscheck")
_BOUND = (types.MethodType, types.BuiltinMethodType, types.MethodWrapperType)


class HandedError(TypeError):
    """A value that cannot be handed to a program."""


class Handing:
    """The tests' objects that the program has been handed, and may use by their numbers."""

    def __init__(self) -> None:
        self._objects: list[tuple[Any, str]] = []
        self._numbers: dict[int, int] = {}  # by id

    def find(self, number: int) -> Any:
        """The object that the program gives back."""
        if not 0 <= number < len(self._objects):
            raise codec.CodecError("No such object.")
        return self._objects[number][0]

    def message(self, value: Any, *, encode: Callable[[object], Any], own: Peer) -> dict[str, Any]:
        """What stands for `value`: the program's own object, something it can import or make, or a number."""
        if type(value) is Remote and peer_of(value) is own:
            return {"object": target_of(value)}
        how = _how(value)
        if how is None and (place := _place(value)) is not None:
            # What tests can import, programs can; and a test's `eval` must not run what a program gives it.
            return {"import": place}
        if how is None:
            return {"reduced": encode(_reduced(value))}
        number = self._numbers.setdefault(id(value), len(self._objects))
        if number == len(self._objects):
            self._objects.append((value, how))
        return {"handed": [number, how, getattr(value, "__name__", "")]}

    def operation(self, question: Mapping[str, Any]) -> tuple[Any, str]:
        """The object and the operation that the program asks for; CodecError if it may not."""
        do, number = question.get("ask"), question.get("target")
        if type(do) is not str or type(number) is not int or do not in OPERATIONS or do in _NEVER:
            raise codec.CodecError("No such operation.")
        subject = self.find(number)
        allowed = {"function": ("call",), "iterator": ("next", "iter")}.get(self._objects[number][1])
        if allowed is not None and do not in allowed:
            raise codec.CodecError("Not allowed.")
        return subject, do

    def perform(self, subject: Any, do: str, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> Any:
        """Do it."""
        if do in _ATTRIBUTES:
            name = arguments[0]
            if type(name) is not str or name.startswith("_") or type(subject).__module__ not in _OPEN_MODULES:
                raise AttributeError(f"{type(subject).__name__!r} object has no attribute {str(name)!r}")
        return OPERATIONS[do](subject, *arguments, **keywords)


def _how(value: Any) -> str | None:
    """In which way the program may use what stays with the tests; None if it need not stay there."""
    if isinstance(value, _BOUND) and not isinstance(getattr(value, "__self__", None), (types.ModuleType, type)):
        return "function"
    ours = value.__module__ if isinstance(value, (type, types.FunctionType)) else type(value).__module__
    if callable(value) and (ours == "tests" or getattr(value, "__module__", "") == "tests"):
        return "function"
    if isinstance(value, types.FunctionType) and "<locals>" in value.__qualname__:
        return "function"
    if isinstance(value, io.IOBase) or ours == "tests":
        return "object"
    return "iterator" if hasattr(type(value), "__next__") else None


def _place(value: Any) -> list[str] | None:
    """From where a function, a class or a module can be imported, if from anywhere."""
    if isinstance(value, types.ModuleType):
        return [value.__name__, ""]
    module = getattr(value, "__module__", None) or getattr(getattr(value, "__objclass__", None), "__module__", None)
    path = getattr(value, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(path, str) or module not in sys.modules:
        return None
    try:
        found = reduce(getattr, path.split("."), importlib.import_module(module))
    except AttributeError:
        return None
    return [module, path] if found is value else None


def _reduced(value: Any) -> list[Any]:
    """How Python itself would copy it: a function to import, its arguments, and what is added afterwards."""
    try:
        reducer = copyreg.dispatch_table.get(type(value))
        make, arguments, *rest = reducer(value) if reducer else value.__reduce_ex__(4)
    except Exception:
        raise HandedError(f"A {type(value).__name__} cannot be handed to a program.") from None
    state, items, pairs, *_ = [*rest, None, None, None]
    lists = [None if part is None else list(part) for part in (items, pairs)]
    return [make, arguments, state, *lists]
