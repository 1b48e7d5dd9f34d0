"""Python values as bounded JSON: only data crosses between a program and its supervisor, never code or objects."""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

MAX_BYTES = 8 << 20
MAX_DEPTH = 200
MAX_NODES = 1_000_000
_MAX_INT = 1 << 63
_TYPES = {kind.__name__: kind for kind in (bool, int, float, complex, str, bytes, list, tuple, set, frozenset, dict)}

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
    "bytes": ((bytes, bytearray), lambda value: bytes(value).hex(), bytes.fromhex),
}

Keep = Callable[[object], int]
Find = Callable[[int], object]


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


def encode(value: object, *, keep: Keep | None = None) -> Any:
    """Turn `value` into JSON data; CodecError if it is over the limits, or holds what is not data and cannot be kept.

    Subclasses of the built-in types become those types, NumPy scalars become numbers, ListNode and TreeNode objects
    become lists of their values. The built-in types themselves may cross, too. `keep` gives any other object a number,
    under which its owner can find it again.
    """
    return _Encoder(keep).encode(value, MAX_DEPTH)


def decode(message: Any, *, classes: Mapping[str, Any] | None = None, find: Find | None = None) -> Any:
    """Turn JSON data back into the value that `encode` was given; CodecError if it did not write this message.

    `classes` holds ListNode and TreeNode, where these may occur; `find` looks up kept objects.
    """
    try:
        return _Decoder(classes or {}, find).decode(message)
    except CodecError:
        raise
    except RecursionError:
        raise TooLargeError(f"A value is nested more than {MAX_DEPTH} deep.") from None
    except Exception as error:
        # Whatever a forged message makes the decoder stumble over, including the program's own ListNode class.
        raise CodecError(f"Not a value: {type(error).__name__}") from None


def _is_plain(value: Any) -> bool:
    """Whether JSON has this value. By exact type: a subclass of int or str is not plain."""
    kind = type(value)
    if kind is int:
        return -_MAX_INT <= value < _MAX_INT
    if kind is float:
        return math.isfinite(value)
    return kind is str or kind is bool or value is None


class _Encoder:
    def __init__(self, keep: Keep | None) -> None:
        self._keep = keep
        self._nodes = 0

    def encode(self, value: Any, depth: int) -> Any:
        if _is_plain(value):
            return value
        if depth == 0:
            raise TooLargeError(f"A value is nested more than {MAX_DEPTH} deep.")
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
        for kind, (base, write, _) in _SCALARS.items():
            if isinstance(value, base):
                return {kind: write(value)}
        return self._object(value, depth)

    def _count(self, nodes: int) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            raise TooLargeError(f"A value has more than {MAX_NODES:,} parts.")

    def _items(self, items: Iterable[Any], depth: int) -> list[Any]:
        return [item if _is_plain(item) else self.encode(item, depth - 1) for item in items]

    def _object(self, value: Any, depth: int) -> Any:
        if isinstance(value, type) and _TYPES.get(value.__name__) is value:
            return {"type": value.__name__}
        name = type(value).__name__
        if flatten := {"ListNode": self._linked_values, "TreeNode": self._level_order}.get(name):
            return {name: self._items(flatten(value), depth)}
        if type(value).__module__ == "numpy" and hasattr(value, "item") and getattr(value, "shape", None) == ():
            return self.encode(value.item(), depth - 1)
        if self._keep is None:
            raise CodecError(f"A {name} is not data.")
        self._count(1)
        return {"object": self._keep(value)}

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
    def __init__(self, classes: Mapping[str, Any], find: Find | None) -> None:
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
            case "object" if self._find is not None and type(body) is int:
                return self._find(body)
        raise CodecError(f"Unknown kind of value {str(kind)[:20]!r}.")

    def _linked(self, values: list[Any]) -> Any:
        node = None
        for value in reversed(values):
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


def _set(items: list[Any]) -> set[Any]:
    found: set[Any] = set()
    # One by one, so that an alarm can end it between two items: those whose hashes collide take quadratic time.
    for item in items:
        found.add(item)
    return found
