"""Looks at what the engines rely on in other packages, and names the seam that moved."""

import ast
import importlib
import inspect
import textwrap
from collections.abc import Iterable
from dataclasses import fields
from typing import Any


def look_up(name: str) -> Any:
    module, _, path = name.partition(":")
    found = importlib.import_module(module)
    for part in path.split("."):
        found = getattr(found, part, None)
        assert found is not None, f"seam moved: {name} is gone"
    return found


def check_parameters(name: str, expected: list[str]) -> None:
    """A method takes what it did; parameters after those may change."""
    taken = [each for each in inspect.signature(look_up(name)).parameters if each != "self"]
    assert taken[: len(expected)] == expected, f"seam moved: {name} now takes {taken}"


def check_fields(name: str, expected: Iterable[str]) -> None:
    """A dataclass has the fields that it had."""
    missing = set(expected) - {field.name for field in fields(look_up(name))}
    assert not missing, f"seam moved: {name} has no {missing}"


def check_source(name: str, expected: list[str]) -> None:
    """A function calls us as it did, or uses what we set as it did."""
    source = ast.unparse(ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(look_up(name))))))
    for each in expected:
        assert each.replace('"', "'") in source, f"seam moved: {name} has no `{each}`"
