"""The flags of dataclasses, read from their sources, since importing TRL's takes seconds that a typo need not wait."""

import argparse
import ast
import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

PACKAGE = Path(__file__).parents[1]
Assignment = ast.Assign | ast.AnnAssign


class Flag(NamedTuple):
    """A field of a dataclass: its name, its annotation as written, and its help."""

    name: str
    annotation: str
    help: str


def read_flags(file: str, *classes: str, package: str = "") -> list[Flag]:
    """The fields that dataclasses in one file define, base classes of other files left out.

    Args:
        file: Path within the package.
        package: Name of an installed package; by default this one.
    """
    bodies = {node.name: node.body for node in _parse(file, package).body if isinstance(node, ast.ClassDef)}
    fields = [node for name in classes for node in bodies[name] if isinstance(node, ast.AnnAssign)]
    # An underscore marks fields that are no argument of the class.
    return [
        Flag(node.target.id, ast.unparse(node.annotation), _help(node.value))
        for node in fields
        if isinstance(node.target, ast.Name) and not node.target.id.startswith("_")
    ]


def read_names(file: str, variable: str) -> list[str]:
    """The texts that a file of this package lists as the keys of a dict, or in a `Literal`."""
    found = re.compile(rf"{variable}\b")
    assignments = [node for node in _parse(file, "").body if isinstance(node, Assignment)]
    value = next(node.value for node in assignments if found.match(ast.unparse(node)))
    nodes = value.keys if isinstance(value, ast.Dict) else ast.walk(value or ast.Pass())
    return sorted(node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))


class FlagParser(argparse.ArgumentParser):
    """Finds mistyped flags, names and numbers; the parser of the dataclasses themselves reads the values later."""

    def __init__(self, prog: str, flags: Iterable[Flag], *, choices: Mapping[str, Sequence[str]]) -> None:
        """Take all `flags`; `choices` are the values of some of them, by name."""
        super().__init__(prog, usage=f"{prog} [flags]", add_help=False, allow_abbrev=False)
        self._taken: set[str] = set()
        for flag in [Flag("help", "str", ""), Flag("config", "str", ""), *flags]:
            # A subclass defines some of its base's fields again.
            if flag.name not in self._taken:
                self._taken.add(flag.name)
                self._add(flag, choices.get(flag.name))

    def check(self, words: Sequence[str]) -> None:
        """Exit with a message if a flag or its value is mistyped."""
        unknown = [word.partition("=")[0] for word in self.parse_known_args(words)[1]]
        for word in unknown:
            close = difflib.get_close_matches(word.lstrip("-").replace("-", "_"), self._taken, n=1)
            hint = f"; did you mean --{close[0]}?" if close and word.startswith("-") else ""
            self.error(f"unknown {'flag' if word.startswith('-') else 'argument'} {word}{hint}")

    def _add(self, flag: Flag, choices: Sequence[str] | None) -> None:
        number = {"int": int, "float": float}.get(flag.annotation.removesuffix(" | None"))
        kind: Any = number or (json_object if flag.annotation.startswith("dict") else str)
        for name in (flag.name, *([f"no_{flag.name}"] if flag.annotation.startswith("bool") else ())):
            spellings = dict.fromkeys((f"--{name}", f"--{name.replace('_', '-')}"))
            # Lists and switches take any number of words; that of numbers is certain.
            self.add_argument(*spellings, nargs=None if number or choices else "*", type=kind, choices=choices)


def json_object(text: str) -> str:
    """The text, if it is a JSON object or the name of a file.

    Raises:
        argparse.ArgumentTypeError: It is a broken object.
    """
    if text.lstrip().startswith("{"):
        try:
            json.loads(text)
        except json.JSONDecodeError as error:
            raise argparse.ArgumentTypeError(f"{text!r} is no JSON ({error}); write it as '{{\"k\": 3}}'") from None
    return text


@cache
def _parse(file: str, package: str) -> ast.Module:
    spec = find_spec(package) if package else None
    folder = PACKAGE if spec is None or spec.origin is None else Path(spec.origin).parent
    return ast.parse((folder / file).read_text("utf-8"))


def _help(value: ast.expr | None) -> str:
    """The beginning of the first sentence among the arguments of `flag` or `field`."""
    constants = (node.value for node in ast.walk(value or ast.Pass()) if isinstance(node, ast.Constant))
    sentence = next((text for text in constants if isinstance(text, str) and " " in text), "")
    return re.split(r"[.;:](?:\s|$)| \(default", sentence)[0]
