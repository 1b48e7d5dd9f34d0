"""Only data crosses, it crosses unchanged, and it is bounded."""

import math
import random
from collections import Counter, OrderedDict, defaultdict, namedtuple

import pytest

from mot_trl.sandbox import codec


def crossed(value):
    return codec.decode(codec.loads(codec.dumps(codec.encode(value))))


def any_value(source: random.Random, depth: int):
    leaves = [
        None,
        True,
        0,
        -1,
        1 << 63,
        -(1 << 63) - 1,
        1 << 5_000,
        0.1,
        -0.0,
        math.inf,
        "",
        "ü",
        "\ud800",
        b"\xff",
        2j,
    ]
    if depth == 0 or source.random() < 0.3:
        return source.choice(leaves)
    items = [any_value(source, depth - 1) for _ in range(source.randrange(4))]
    kind = source.choice(["list", "tuple", "set", "frozenset", "dict"])
    if kind == "list":
        return items
    if kind == "tuple":
        return tuple(items)
    keys = source.sample(leaves, source.randrange(4))
    if kind == "dict":
        return {key: any_value(source, depth - 1) for key in keys}
    return set(keys) if kind == "set" else frozenset(keys)


def typed(value):
    """The value with all its types, for a comparison that tells 1 from True and -0.0 from 0.0."""
    if isinstance(value, dict):
        return "dict", sorted(((repr(key), typed(item)) for key, item in value.items()), key=repr)
    if isinstance(value, (set, frozenset)):
        return type(value).__name__, sorted(map(repr, map(typed, value)))
    if isinstance(value, (list, tuple)):
        return type(value).__name__, [typed(item) for item in value]
    return type(value).__name__, hex(value) if isinstance(value, int) else repr(value)


@pytest.mark.parametrize("seed", range(200))
def test_data_crosses_unchanged(seed):
    value = any_value(random.Random(seed), 4)

    assert typed(crossed(value)) == typed(value)


def test_not_a_number_crosses():
    assert math.isnan(crossed([float("nan")])[0])


def test_subclasses_become_what_they_are_made_of():
    class Liar(int):
        def __eq__(self, other):
            return True

        def __hash__(self):
            return 0

        def __index__(self):
            return 3

        def __repr__(self):
            return "3"

        __str__ = __int__ = __format__ = __repr__

    point = namedtuple("point", "x y")(1, 2)
    values = [Counter("aab"), OrderedDict(a=1), defaultdict(list, {1: [2]}), point, True]

    found = crossed([*values, Liar(7), str.__new__(type("S", (str,), {}), "s")])

    assert found == [*values, 7, "s"]
    assert [type(item) for item in found[:3]] == [Counter, OrderedDict, defaultdict]
    assert [type(item) for item in found[4:]] == [bool, int, str]
    assert (found[3].x, type(found[3]).__name__) == (1, "point")


@pytest.mark.parametrize("value", [object(), len, lambda: 0, object, codec, (x for x in ()), [1, [object()]]])
def test_what_is_not_data_does_not_cross(value):
    with pytest.raises(codec.CodecError, match="not data"):
        codec.encode(value)


def test_bounds():
    nested: list = []
    for _ in range(codec.MAX_DEPTH + 1):
        nested = [nested]
    endless: list = []
    endless.append(endless)

    for value in (nested, endless, [0] * (codec.MAX_NODES + 1)):
        with pytest.raises(codec.TooLargeError):
            codec.encode(value)
    with pytest.raises(codec.TooLargeError):
        codec.dumps("x" * codec.MAX_BYTES)


@pytest.mark.parametrize(
    "message",
    [
        {"verdict": 1},
        {},
        {"int": "3", "float": "3"},
        {"int": 3},
        {"int": "zz"},
        {"set": [[1]]},
        {"dict": [[1, 2, 3]]},
        {"dict": [[[], 1]]},
        {"type": "object"},
        {"object": 1},
        {"bytes": "x"},
        {"complex": ["1"]},
        {"ListNode": [1]},
        {"TreeNode": [True]},
        {"tuple": 3},
        {"Decimal": ["x"]},
        {"Fraction": [1, 0]},
        {"Fraction": [{"int": "1" + "0" * 100_000}, 3]},
        {"Fraction": ["1", "2"]},
        {"date": [2020, 13, 1]},
        {"datetime": ["now", 0]},
        {"range": [0, 1, 0]},
        {"deque": [[], -1]},
        {"defaultdict": [3, []]},
        {"Counter": [[[[], 1]]]},
        {"namedtuple": ["x", ["__class__"], [1]]},
        {"namedtuple": ["x; import os", ["a"], [1]]},
        {"namedtuple": ["x", ["a", "b"], [1]]},
        {"ndarray": ["O8", [1], {"bytes": "0000000000000000"}]},
        {"ndarray": ["|V8", [1], {"bytes": "0000000000000000"}]},
        {"ndarray": ["<i8", [2], {"bytes": "0000000000000000"}]},
        {"instance": ["ListNode", {"dict": []}]},
        {"member": ["Color", "RED"]},
        {"import": ["os", "system"]},
        {"reduced": [{"import": ["os", "getpid"]}, {"tuple": []}]},
        {"handed": 0},
    ],
)
def test_malformed_messages_are_refused(message):
    with pytest.raises(codec.CodecError):
        codec.decode(message)


@pytest.mark.parametrize("line", [b"", b"passed", b"\xff", b"[" * 100_000, b'{"int":', b"1" * 5_000])
def test_what_is_not_json_is_refused(line):
    with pytest.raises(codec.CodecError):
        codec.loads(line)


def test_objects_are_found_again_by_number():
    kept = []

    message = codec.encode([1, object], keep=lambda value: kept.append(value) or {"object": len(kept) - 1})

    assert message == [1, {"object": 0}]
    assert codec.decode(message, find=lambda _, number: kept[number]) == [1, object]
    with pytest.raises(codec.CodecError):
        codec.decode({"object": 5}, find=lambda _, number: kept[number])
