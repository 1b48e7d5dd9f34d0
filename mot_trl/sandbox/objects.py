"""Stand-ins for the other process's objects, and the operations that one process may ask of the other's."""

import operator
from collections.abc import Callable
from typing import Any, Protocol

_TWO_OPERANDS = (
    *("add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "pow"),
    *("lshift", "rshift", "and", "or", "xor"),
)
_BUILT_IN = (abs, bool, bytes, complex, float, format, hash, int, iter, len, next, repr, reversed, round, str)
_BY_OPERATOR = ("contains", "delitem", "getitem", "index", "invert", "neg", "pos", "setitem")

# Those of two operands, which Python also looks for on the right one, with an r in front.
_ARITHMETIC = {name: getattr(operator, f"__{name}__") for name in _TWO_OPERANDS} | {"divmod": divmod}
WEIGHING = (  # a program's object against another value
    _ARITHMETIC
    | {f"r{name}": lambda subject, other, _do=do: _do(other, subject) for name, do in _ARITHMETIC.items()}
    | {name: getattr(operator, name) for name in ["lt", "le", "gt", "ge"]}
)


def _method(name: str) -> Callable[..., Any]:
    # Of the type, as Python's own statements look for it.
    return lambda subject, *arguments: getattr(type(subject), f"__{name}__")(subject, *arguments)


OPERATIONS: dict[str, Callable[..., Any]] = {
    **WEIGHING,
    "call": lambda subject, /, *arguments, **keywords: subject(*arguments, **keywords),
    "get": getattr,
    "set": setattr,
    "delete": delattr,
    "equal": lambda subject, other: bool(subject == other),
    "instancecheck": lambda subject, value: isinstance(value, subject),
    "subclasscheck": lambda subject, value: issubclass(value, subject),
    **{
        do.__name__: do
        for do in (abs, bool, bytes, complex, float, format, hash, int, iter, len, next, repr, reversed)
    },
    **{do.__name__: do for do in _BUILT_IN},
    **{name: getattr(operator, name) for name in _BY_OPERATOR},
    **{name: _method(name) for name in ["ceil", "enter", "exit", "floor", "trunc"]},
}


class Peer(Protocol):
    """The other process."""

    def operate(self, subject: Any, name: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """Have an operation done to the object that `subject` stands for."""

    def equals(self, subject: Any, other: object) -> bool:
        """Whether the object that `subject` stands for equals `other`."""


class Remote:
    """An object of the other process: `target` is its number there, or the name of an entry point.

    Whatever is done to it is asked of its owner. `named` says that it was made by a class that the tests name.
    """

    __slots__ = ("__named", "__peer", "__target")

    def __init__(self, peer: Peer, target: str | int, *, named: bool = False) -> None:
        for name, value in (("peer", peer), ("target", target), ("named", named)):
            object.__setattr__(self, f"_Remote__{name}", value)

    def __call__(self, /, *arguments: Any, **keywords: Any) -> Any:
        """Call the object."""
        return peer_of(self).operate(self, "call", arguments, keywords)

    def __getattr__(self, name: str) -> Any:
        """The object's attribute."""
        return peer_of(self).operate(self, "get", (name,), {})

    def __setattr__(self, name: str, value: object) -> None:
        """Set the object's attribute."""
        peer_of(self).operate(self, "set", (name, value), {})

    def __delattr__(self, name: str) -> None:
        """Delete the object's attribute."""
        peer_of(self).operate(self, "delete", (name,), {})

    def __eq__(self, other: object) -> bool:
        """Whether the objects are equal."""
        return peer_of(self).equals(self, other)


def peer_of(stand_in: Remote) -> Peer:
    """The process whose object it is."""
    return object.__getattribute__(stand_in, "_Remote__peer")


def target_of(stand_in: Remote) -> str | int:
    """Which of that process's objects it is."""
    return object.__getattribute__(stand_in, "_Remote__target")


def is_named(stand_in: Remote) -> bool:
    """Whether a class that the tests name made it."""
    return object.__getattribute__(stand_in, "_Remote__named")


def _asking(name: str) -> Callable[..., Any]:
    def ask(self: Remote, *arguments: Any) -> Any:
        return peer_of(self).operate(self, name, arguments, {})

    return ask


for _name in {*OPERATIONS} - {"call", "get", "set", "delete", "equal"}:
    setattr(Remote, f"__{_name}__", _asking(_name))
