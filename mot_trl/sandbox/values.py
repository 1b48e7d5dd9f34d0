"""Values of the standard library and NumPy as data: what each is made of, and how it is made from that again.

Both processes use the same table. A reader gets whatever the program sent: it must raise, or return a value of exactly
its type, and loop in Python, where an alarm can end it, over keys whose hashes may collide.
"""

import datetime
import importlib
import re
import sys
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Callable, Iterable
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

_MAX_FRACTION_BITS = 100_000  # reducing a longer one would take seconds
_MAX_FIELDS = 256
_PLAIN_DTYPE = re.compile(r"[<>|=]?[biufcSUmM]\d{1,6}(?:\[\w{1,8}\])?")  # no objects: those are pointers


class Form(NamedTuple):
    """How a type crosses: its name in messages, its parts, and the value again."""

    name: str
    parts: Callable[[Any], list[Any]]
    read: Callable[..., Any]


def _fraction(numerator: int, denominator: int) -> Fraction:
    if max(numerator.bit_length(), denominator.bit_length()) > _MAX_FRACTION_BITS:
        raise ValueError("A fraction is too long.")
    return Fraction(numerator, denominator)


def _seconds(zone: datetime.timezone) -> float:
    return zone.utcoffset(None).total_seconds()


def _fixed(moment: Any) -> Any:
    """A moment with its zone as a mere offset: other kinds of zones are code."""
    offset = moment.utcoffset()
    return moment if offset is None else moment.replace(tzinfo=datetime.timezone(offset))


def _filled(found: Any, pairs: Iterable[tuple[Any, Any]]) -> Any:
    for key, value in pairs:
        found[key] = value
    return found


def _mapping(kind: type[dict]) -> Form:
    return Form(
        kind.__name__,
        lambda value: [[list(pair) for pair in dict.items(value)]],
        lambda pairs: _filled(kind(), pairs),
    )


def _default(factory: type | None, pairs: list[Any]) -> Any:
    return _filled(defaultdict(factory), pairs)


def _dtype_and_items(array: Any) -> list[Any]:
    if _PLAIN_DTYPE.fullmatch(array.dtype.str):
        return [array.dtype.str, list(array.shape), array.tobytes()]
    return ["O", list(array.shape), array.ravel().tolist()]


def _array(dtype: str, shape: list[int], items: Any) -> Any:
    numpy = importlib.import_module("numpy")
    if dtype == "O":
        flat = numpy.empty(len(items), dtype=object)
        for place, item in enumerate(items):
            flat[place] = item
        return flat.reshape(shape)
    if not _PLAIN_DTYPE.fullmatch(dtype):
        raise ValueError("Not a type of array.")
    return numpy.frombuffer(items, dtype=dtype).reshape(shape).copy()


_FORMS: dict[type, Form] = {
    Decimal: Form("Decimal", lambda value: [Decimal.__str__(value)], Decimal),
    Fraction: Form("Fraction", lambda value: [value.numerator, value.denominator], _fraction),
    # A datetime is a date, so it comes first.
    datetime.datetime: Form(
        "datetime",
        lambda value: [_fixed(value).isoformat(), value.fold],
        lambda text, fold: datetime.datetime.fromisoformat(text).replace(fold=fold),
    ),
    datetime.date: Form("date", lambda value: [value.year, value.month, value.day], datetime.date),
    datetime.time: Form("time", lambda value: [value.isoformat()], datetime.time.fromisoformat),
    datetime.timedelta: Form(
        "timedelta", lambda value: [value.days, value.seconds, value.microseconds], datetime.timedelta
    ),
    datetime.timezone: Form(
        "timezone",
        lambda value: [_seconds(value)],
        lambda seconds: datetime.timezone(datetime.timedelta(seconds=seconds)),
    ),
    range: Form("range", lambda value: [value.start, value.stop, value.step], range),
    slice: Form("slice", lambda value: [value.start, value.stop, value.step], slice),
    bytearray: Form("bytearray", lambda value: [bytes(value)], bytearray),
    deque: Form("deque", lambda value: [list(deque.__iter__(value)), value.maxlen], deque),
    Counter: _mapping(Counter),
    OrderedDict: _mapping(OrderedDict),
    defaultdict: Form(
        "defaultdict", lambda value: [value.default_factory, [list(pair) for pair in dict.items(value)]], _default
    ),
    type({}.keys()): Form(
        "dict_keys", lambda view: [list(view)], lambda keys: _filled({}, ((key, None) for key in keys)).keys()
    ),
    type({}.values()): Form("dict_values", lambda view: [list(view)], lambda items: dict(enumerate(items)).values()),
    type({}.items()): Form(
        "dict_items", lambda view: [[list(pair) for pair in view]], lambda pairs: _filled({}, pairs).items()
    ),
    type(...): Form("Ellipsis", lambda _: [], lambda: ...),
}
_ARRAY = Form("ndarray", _dtype_and_items, _array)
_RECORD = Form(
    "namedtuple",
    lambda value: [type(value).__name__, list(value._fields), list(tuple.__iter__(value))],
    lambda name, fields, items: _record_type(name, *fields)._make(items),
)
FORMS = {form.name: form for form in (*_FORMS.values(), _ARRAY, _RECORD)}
TYPES = {kind.__name__: kind for kind in _FORMS if kind.__module__ != "builtins" or kind in (range, bytearray)}


@lru_cache(maxsize=256)
def _record_type(name: str, *fields: str) -> Any:
    return namedtuple(name, fields)  # names that are not identifiers are a ValueError


@lru_cache(maxsize=1024)
def form_of(kind: type) -> Form | None:
    """How values of a type cross: as the type in the table that it is, or is a subclass of."""
    for base in kind.__mro__:
        if base in _FORMS:
            return _FORMS[base]
        if base is tuple and hasattr(kind, "_fields"):
            return _RECORD
    numpy = sys.modules.get("numpy")
    return _ARRAY if numpy is not None and issubclass(kind, numpy.ndarray) else None
