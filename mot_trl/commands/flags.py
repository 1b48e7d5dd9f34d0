"""The flags of dataclasses, read from their sources, since importing TRL's takes seconds that a typo need not wait."""

import argparse
import ast
import difflib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from textwrap import shorten
from types import MappingProxyType
from typing import Any, NamedTuple, NoReturn

PACKAGE = Path(__file__).parents[1]
COLUMNS = 100
Assignment = ast.Assign | ast.AnnAssign


class Flag(NamedTuple):
    """A field of a dataclass: its name, its annotation as written, its help, and other spellings of the flag."""

    name: str
    annotation: str
    help: str
    aliases: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """What `--help` says of it."""
        return f"  --{self.name:28} {shorten(self.help, COLUMNS - 33, placeholder='...')}"


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
        Flag(node.target.id, ast.unparse(node.annotation), *_metadata(node.value))
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


class CommandParser(argparse.ArgumentParser):
    """Says in one line what is wrong; `--help` shows the usage."""

    def error(self, message: str) -> NoReturn:
        """Exit with the message."""
        self.exit(2, f"{self.prog}: error: {message}\n")


class FlagParser(CommandParser):
    """Finds mistyped flags, names and numbers; the parser of the dataclasses themselves reads the values later."""

    def __init__(
        self,
        prog: str,
        flags: Iterable[Flag],
        *,
        choices: Mapping[str, Sequence[str]] = MappingProxyType({}),
        types: Mapping[str, Callable[[str], Any]] = MappingProxyType({}),
    ) -> None:
        """Take all `flags`; by name, `choices` are the values of some of them, and `types` check those of others."""
        super().__init__(prog, usage=f"{prog} [flags]", allow_abbrev=False)
        # A subclass defines some of its base's fields again, and what it says of them counts.
        self._flags = {flag.name: flag for flag in reversed(list(flags))}
        for name, flag in self._flags.items():
            self._add(flag, choices.get(name), types.get(name))

    def format_help(self) -> str:
        """A line for each flag."""
        return "\n".join([self.format_usage(), *(flag.line for flag in reversed(self._flags.values())), ""])

    def check(self, words: Sequence[str]) -> None:
        """Exit with a message if a flag or its value is mistyped."""
        unknown = [word.partition("=")[0] for word in self.parse_known_args(words)[1]]
        for word in unknown:
            close = difflib.get_close_matches(word.lstrip("-").replace("-", "_"), self._flags, n=1)
            hint = f"; did you mean --{close[0]}?" if close and word.startswith("-") else ""
            self.error(f"unknown {'flag' if word.startswith('-') else 'argument'} {word}{hint}")

    def _add(self, flag: Flag, choices: Sequence[str] | None, check: Callable[[str], Any] | None) -> None:
        number = {"int": int, "float": float}.get(flag.annotation.removesuffix(" | None"))
        kind: Any = check or number or (json_object if flag.annotation.startswith("dict") else str)
        for name in (flag.name, *([f"no_{flag.name}"] if flag.annotation.startswith("bool") else ())):
            spellings = dict.fromkeys((f"--{name}", f"--{name.replace('_', '-')}", *flag.aliases))
            # Lists and switches take any number of words; that of numbers is certain.
            self.add_argument(*spellings, nargs=None if number or choices else "*", type=kind, choices=choices)


def at_least(least: float, kind: type = int) -> Callable[[str], Any]:
    """A type for argparse: finite numbers from `least` on."""

    def read(text: str) -> Any:
        with suppress(ValueError):
            if least <= kind(text) < math.inf:
                return kind(text)
        whole = "a whole number" if kind is int else "a number"
        raise argparse.ArgumentTypeError(f"{text!r} must be {whole}, at least {least}")

    return read


def model_name(text: str) -> str:
    """The text, if it may be the name of a model, here or on the hub.

    Raises:
        argparse.ArgumentTypeError: It is the path of a folder that does not exist.
    """
    if text.startswith(("/", ".", "~")) and not Path(text).expanduser().exists():
        raise argparse.ArgumentTypeError(f"{text!r} is neither a local folder nor a model on the hub")
    return text


def strategy_word(text: str) -> str:
    """The text, if it begins with the name of a strategy or preset, or is `trained`.

    Raises:
        argparse.ArgumentTypeError: It does not.
    """
    names = read_names("strategies/__init__.py", "STRATEGIES"), read_names("strategies/presets.py", "PRESETS")
    if text.removeprefix("preset:").partition(":")[0] not in {*names[0], *names[1], "trained"}:
        raise argparse.ArgumentTypeError(
            f"Unknown strategy {text!r}; choose `trained`, one of {', '.join(names[0])}, or a preset: "
            f"{', '.join(names[1])}"
        )
    return text


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


def _metadata(value: ast.expr | None) -> tuple[str, tuple[str, ...]]:
    """The beginning of the first sentence among the arguments of `flag` or `field`, and words that begin with `--`."""
    constants = [node.value for node in ast.walk(value or ast.Pass()) if isinstance(node, ast.Constant)]
    texts = [text for text in constants if isinstance(text, str)]
    sentence = next((text for text in texts if " " in text), "")
    aliases = tuple(text for text in texts if text.startswith("--") and " " not in text)
    return re.split(r"[.;:](?:\s|$)| \(default", sentence)[0], aliases
