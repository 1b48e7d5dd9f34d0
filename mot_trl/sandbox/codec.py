"""Python values as bounded JSON: only data crosses between a program and its judge, never code and never objects."""

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

MAX_BYTES = 8 << 20
MAX_DEPTH = 200
MAX_NODES = 1_000_000
_MAX_INT = 1 << 63
_TYPES = {kind.__name__: kind for kind in (bool, int, float, complex, str, bytes, list, tuple, set, frozenset, dict)}

Keep = Callable[[object], int]
Find = Callable[[int], object]


class CodecError(ValueError):
    """A value that cannot cross, or a message that no honest peer sends."""


class TooLargeError(CodecError):
    """A value or message over the bounds."""


def dumps(message: object) -> bytes:
    """The encoded message as ASCII; raises TooLargeError over MAX_BYTES."""
    line = json.dumps(message, separators=(",", ":")).encode("ascii")
    if len(line) > MAX_BYTES:
        raise TooLargeError(f"A message of {len(line):,} bytes is over the limit of {MAX_BYTES:,}.")
    return line


def loads(line: bytes) -> Any:
    """The message in `line`; raises CodecError on anything else than JSON."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise CodecError(f"Not a message: {error}") from None


def encode(value: object, *, keep: Keep | None = None) -> Any:
    """`value` as JSON data.

    Subclasses of the built-in types become those types, NumPy scalars become numbers, ListNode and TreeNode objects
    become lists of their values; the built-in types themselves may cross, too. `keep` gives any other object a number
    under which its owner can find it again; without it, such objects raise CodecError. Raises TooLargeError beyond
    MAX_DEPTH or MAX_NODES.
    """
    return _Encoder(keep).encode(value, MAX_DEPTH)


def _is_plain(value: object) -> bool:
    kind = type(value)
    if kind is int:
        return -_MAX_INT <= value < _MAX_INT  # ty: ignore[unsupported-operator]
    if kind is float:
        return math.isfinite(value)  # ty: ignore[invalid-argument-type]
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
        if isinstance(value, (bool, int, float, complex, str, bytes, bytearray)):
            return self._scalar(value)
        if isinstance(value, (list, tuple, set, frozenset, dict)):
            return self._container(value, depth)
        return self._object(value, depth)

    def _count(self, nodes: int) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            raise TooLargeError(f"A value has more than {MAX_NODES:,} parts.")

    @staticmethod
    def _scalar(value: Any) -> Any:
        # `base.method(value)` reads the number or text itself, whatever a subclass says it is.
        if isinstance(value, int):
            return {"int": int.__format__(int(int.__index__(value)), "x")}
        if isinstance(value, float):
            return {"float": float.__repr__(value)}
        if isinstance(value, complex):
            return {"complex": [float.__repr__(value.real), float.__repr__(value.imag)]}
        if isinstance(value, str):
            return str.__str__(value)
        return {"bytes": bytes(value).hex()}

    def _container(self, value: Any, depth: int) -> Any:
        self._count(len(value))
        if isinstance(value, dict):
            return {"dict": [[self.encode(k, depth - 1), self.encode(v, depth - 1)] for k, v in dict.items(value)]}
        if isinstance(value, list):
            return self._items(list.__iter__(value), depth)
        for base in (tuple, set, frozenset):
            if isinstance(value, base):
                return {base.__name__: self._items(base.__iter__(value), depth)}
        raise AssertionError("unreachable")

    def _items(self, items: Any, depth: int) -> list[Any]:
        return [item if _is_plain(item) else self.encode(item, depth - 1) for item in items]

    def _object(self, value: Any, depth: int) -> Any:
        if isinstance(value, type) and _TYPES.get(value.__name__) is value:
            return {"type": value.__name__}
        name = type(value).__name__
        if name == "ListNode":
            return {"ListNode": [self.encode(item, depth - 1) for item in self._linked_values(value)]}
        if name == "TreeNode":
            return {"TreeNode": [self.encode(item, depth - 1) for item in self._level_order(value)]}
        if type(value).__module__ == "numpy" and hasattr(value, "item") and getattr(value, "shape", None) == ():
            return self.encode(value.item(), depth - 1)
        if self._keep is None:
            raise CodecError(f"A {name} is not data.")
        self._count(1)
        return {"object": self._keep(value)}

    def _linked_values(self, node: Any) -> list[Any]:
        values = []
        while node is not None:
            self._count(1)  # ends a cycle, too
            values.append(node.val)
            node = node.next
        return values

    def _level_order(self, root: Any) -> list[Any]:
        """[present, value, present, value, ...] by levels: a value may itself be None."""
        flat: list[Any] = []
        level = [root]
        while level:
            self._count(len(level))
            flat += [item for node in level for item in ((False,) if node is None else (True, node.val))]
            level = [child for node in level if node is not None for child in (node.left, node.right)]
        return flat


def decode(message: Any, *, classes: Mapping[str, Any] | None = None, find: Find | None = None) -> Any:
    """The value that `encode` was given. `classes` holds ListNode and TreeNode; `find` looks up kept objects.

    Raises CodecError on a message that `encode` did not write.
    """
    try:
        return _Decoder(classes or {}, find).decode(message)
    except CodecError:
        raise
    except RecursionError:
        raise TooLargeError(f"A value is nested more than {MAX_DEPTH} deep.") from None
    except Exception as error:
        raise CodecError(f"Not a value: {type(error).__name__}") from None


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
        match kind:
            case "int":
                return int(body, 16)
            case "float":
                return float(body)
            case "complex":
                return complex(float(body[0]), float(body[1]))
            case "bytes":
                return bytes.fromhex(body)
            case "type":
                return _TYPES[body]
            case "tuple":
                return tuple(self.decode(body))
            case "set" | "frozenset":
                return self._set(self.decode(body), frozen=kind == "frozenset")
            case "dict":
                return {self.decode(key): self.decode(value) for key, value in body}
            case "ListNode":
                return self._linked(self.decode(body))
            case "TreeNode":
                return self._tree(self.decode(body))
            case "object" if self._find is not None and type(body) is int:
                return self._find(body)
        raise CodecError(f"Unknown kind of value {str(kind)[:20]!r}.")

    @staticmethod
    def _set(items: list[Any], *, frozen: bool) -> Any:
        found: set[Any] = set()
        # One by one, so that an alarm can end it: items whose hashes collide take quadratic time.
        for item in items:
            found.add(item)
        return frozenset(found) if frozen else found

    def _linked(self, values: list[Any]) -> Any:
        node = None
        for value in reversed(values):
            below, node = node, self._classes["ListNode"](value)
            node.next = below
        return node

    def _tree(self, flat: list[Any]) -> Any:
        items = iter(flat)

        def read() -> Any:
            return self._classes["TreeNode"](next(items)) if next(items) else None

        root = read()
        level = [root]
        while level:
            following = []
            for node in level:
                if node is not None:
                    node.left, node.right = read(), read()
                    following += [node.left, node.right]
            level = following
        return root
