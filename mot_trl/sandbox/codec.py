"""Python values as bounded JSON: data crosses between a program and its supervisor by value, all else by number."""

import enum
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from mot_trl.sandbox import values

MAX_BYTES = 8 << 20
MAX_DEPTH = 200
MAX_NODES = 1_000_000
_MAX_INT = 1 << 63
_BUILT_IN = (bool, int, float, complex, str, bytes, list, tuple, set, frozenset, dict)
_TYPES = {kind.__name__: kind for kind in _BUILT_IN} | values.TYPES

# How scalars that JSON does not have are written and read. `base.method(value)` reads the number itself, whatever a
# subclass says it is. Integers are hexadecimal: Python refuses to parse long decimal ones, which takes quadratic time.
_SCALARS: dict[str, tuple[Any, Callable[[Any], object], Callable[[Any], object]]] = {
    "int": (int, lambda value: int.__format__(int(int.__index__(value)), "x"), lambda body: int(body, 16)),
    "float": (float, float.__repr__, float),
    "complex": (
        complex,
        lambda value: [float.__repr__(value.real), float.__repr__(value.imag)],
        lambda body: complex(float(body[0]), float(body[1])),
    ),
    "bytes": (bytes, lambda value: bytes.hex(bytes(value)), bytes.fromhex),
}

# What is not data: `Keep` writes a message of one entry for it, and `Find` reads that entry again.
Keep = Callable[[Any], dict[str, Any]]
Find = Callable[[str, Any], Any]
Classes = Mapping[str, Any]


class Kept(NamedTuple):
    """A value that is to be kept, even if it is data."""

    value: Any


class CodecError(ValueError):
    """A value that cannot cross, or a message that no honest peer sends."""


class TooLargeError(CodecError):
    """A value or message over the limits."""


def dumps(message: object) -> bytes:
    """Serialize a message as ASCII, if it is no longer than MAX_BYTES."""
    line = json.dumps(message, separators=(",", ":")).encode("ascii")
    if len(line) > MAX_BYTES:
        raise TooLargeError(f"A message of {len(line):,} bytes is over the limit of {MAX_BYTES:,}.")
    return line


def loads(line: bytes) -> Any:
    """Parse a message, which may be anything."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise CodecError(f"Not a message: {error}") from None


def encode(value: object, *, keep: Keep | None = None, classes: Classes | None = None, depth: int = MAX_DEPTH) -> Any:
    """Turn `value` into JSON data; CodecError if it is over the limits, or holds what is not data and cannot be kept.

    Subclasses of the built-in types, and of those in `values`, become those types, and NumPy scalars become numbers.
    These types themselves may cross, too. Objects of a class whose name is in `classes`, which both sides have, become
    the values of their attributes. `keep` stands any other object in for a message, by which its owner finds it again.
    """
    return _Encoder(keep, classes or {}).encode(value, depth)


def decode(message: Any, *, classes: Classes | None = None, find: Find | None = None) -> Any:
    """Turn JSON data back into the value that `encode` was given; CodecError if it did not write this message."""
    try:
        return _Decoder(classes or {}, find).decode(message)
    except CodecError:
        raise
    except RecursionError:
        raise TooLargeError(f"A value is nested more than {MAX_DEPTH} deep.") from None
    except Exception as error:
        # Whatever a forged message makes the decoder stumble over, including the program's own ListNode class.
        raise CodecError(f"Not a value: {type(error).__name__}") from None


def is_plain(value: Any) -> bool:
    """Whether JSON has this value. By exact type: a subclass of int or str is not plain."""
    kind = type(value)
    if kind is int:
        return -_MAX_INT <= value < _MAX_INT
    if kind is float:
        return math.isfinite(value)
    return kind is str or kind is bool or value is None


class _Encoder:
    def __init__(self, keep: Keep | None, classes: Classes) -> None:
        self._keep = keep
        self._classes = classes
        self._nodes = 0

    def encode(self, value: Any, depth: int) -> Any:
        if is_plain(value):
            return value
        if depth == 0:
            raise TooLargeError(f"A value is nested more than {MAX_DEPTH} deep.")
        kind = type(value)
        if kind not in _BUILT_IN:
            if kind is Kept:
                value = value.value
                return self._attributes(value, depth) if type(value).__name__ in self._classes else self._object(value)
            if kind.__name__ in self._classes:
                return self._attributes(value, depth)
            if form := values.form_of(kind):
                self._count(1)
                return {form.name: self._items(form.parts(value), depth)}
        for base in (list, tuple, set, frozenset):
            if isinstance(value, base):
                self._count(len(value))
                items = self._items(base.__iter__(value), depth)
                return items if base is list else {base.__name__: items}
        if isinstance(value, dict):
            self._count(len(value))
            return {"dict": [[self.encode(k, depth - 1), self.encode(v, depth - 1)] for k, v in dict.items(value)]}
        if isinstance(value, str):
            return str.__str__(value)
        for name, (base, write, _) in _SCALARS.items():
            if isinstance(value, base):
                return {name: write(value)}
        if kind.__module__ == "numpy" and hasattr(value, "item") and getattr(value, "shape", None) == ():
            return self.encode(value.item(), depth - 1)
        return self._object(value)

    def _count(self, nodes: int) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            raise TooLargeError(f"A value has more than {MAX_NODES:,} parts.")

    def _items(self, items: Iterable[Any], depth: int) -> list[Any]:
        return [item if is_plain(item) else self.encode(item, depth - 1) for item in items]

    def _attributes(self, value: Any, depth: int) -> Any:
        name = type(value).__name__
        self._count(1)
        if isinstance(value, enum.Enum):
            return {"member": [name, value.name]}
        flatten = {"ListNode": (self._linked_values, "val next"), "TreeNode": (self._level_order, "val left right")}
        if name in flatten and all(hasattr(value, attribute) for attribute in flatten[name][1].split()):
            return {name: self._items(flatten[name][0](value), depth)}
        return {"instance": [name, self.encode(state(value), depth - 1)]}

    def _object(self, value: Any) -> Any:
        if isinstance(value, type) and _TYPES.get(value.__name__) is value:
            return {"type": value.__name__}
        if self._keep is None:
            raise CodecError(f"A {type(value).__name__} is not data.")
        self._count(1)
        return self._keep(value)

    def _linked_values(self, node: Any) -> Iterable[Any]:
        while node is not None:
            self._count(1)  # ends a cycle, too
            yield node.val
            node = node.next

    def _level_order(self, root: Any) -> Iterable[Any]:
        """present, value, present, value, ... by levels: a value may itself be None."""
        nodes = [root]
        for node in nodes:  # grows meanwhile
            self._count(1)
            yield node is not None
            if node is not None:
                yield node.val
                nodes += [node.left, node.right]


class _Decoder:
    def __init__(self, classes: Classes, find: Find | None) -> None:
        self._classes = classes
        self._find = find

    def decode(self, message: Any) -> Any:
        if isinstance(message, list):
            return [self.decode(item) if type(item) in (list, dict) else item for item in message]
        if not isinstance(message, dict):
            return message
        ((kind, body),) = message.items()
        if kind in _SCALARS:
            return _SCALARS[kind][2](body)
        match kind:
            case "type":
                return _TYPES[body]  # out of a fixed table: no message can name any other class
            case "tuple":
                return tuple(self.decode(body))
            case "set":
                return _set(self.decode(body))
            case "frozenset":
                return frozenset(_set(self.decode(body)))
            case "dict":
                return {self.decode(key): self.decode(value) for key, value in body}
            case "ListNode":
                return self._linked(self.decode(body))
            case "TreeNode":
                return self._tree(iter(self.decode(body)))
            case "instance":
                return self._instance(*body)
            case "member":
                return self._classes[body[0]][body[1]]
        if kind in values.FORMS:
            return values.FORMS[kind].read(*self.decode(body))
        if self._find is not None:
            return self._find(kind, body)
        raise CodecError(f"Unknown kind of value {str(kind)[:20]!r}.")

    def _instance(self, name: str, state: Any) -> Any:
        kind = self._classes[name]
        instance = kind.__new__(kind)
        for attribute, value in self.decode(state).items():
            if attribute.startswith("__"):
                raise CodecError("Not an attribute.")
            object.__setattr__(instance, attribute, value)
        return instance

    def _linked(self, items: list[Any]) -> Any:
        node = None
        for value in reversed(items):
            below, node = node, self._classes["ListNode"](value)
            node.next = below
        return node

    def _tree(self, items: Iterator[Any]) -> Any:
        nodes = []

        def read() -> Any:
            nodes.append(self._classes["TreeNode"](next(items)) if next(items) else None)
            return nodes[-1]

        read()
        for node in nodes:  # grows meanwhile
            if node is not None:
                node.left, node.right = read(), read()
        return nodes[0]


def state(value: Any) -> dict[str, Any]:
    """An object's own attributes, from its dict and its slots."""
    slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
    return {name: getattr(value, name) for name in slots if hasattr(value, name)} | getattr(value, "__dict__", {})


def _set(items: list[Any]) -> set[Any]:
    found: set[Any] = set()
    # One by one, so that an alarm can end it between two items: those whose hashes collide take quadratic time.
    for item in items:
        found.add(item)
    return found
