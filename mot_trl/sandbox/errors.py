"""What a program raises, as exceptions that tests can catch by type: of built-in types, and of the program's own."""

import builtins
import importlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

Raised = TypeVar("Raised", bound=BaseException)
_MODULES = (
    *("binascii", "calendar", "copy", "dataclasses", "decimal", "json.decoder"),
    *("queue", "re", "statistics", "struct", "zlib"),
)


class ProgramError(Exception):
    """The program raised. Those caught by type are of a subclass that has that type as another base."""

    text: str | None = None  # what the program's exception says of itself
    line: str | None = None  # the same with its type, for people to read
    raised: Any = None  # a stand-in for it, which has its attributes

    def __str__(self) -> str:
        """What the exception says of itself."""
        return super().__str__() if self.text is None else self.text

    def __getattr__(self, name: str) -> Any:
        """An attribute of the program's exception."""
        return getattr(self.raised, name)


def _known() -> dict[str, type[BaseException]]:
    modules = [builtins, *map(importlib.import_module, _MODULES)]
    found = [value for module in modules for value in vars(module).values() if isinstance(value, type)]
    # A group insists on holding exceptions.
    errors = [kind for kind in found if issubclass(kind, BaseException) and not issubclass(kind, BaseExceptionGroup)]
    return {type_name(kind): kind for kind in errors}


def type_name(kind: type) -> str:
    """Under which an exception's type crosses."""
    return f"{kind.__module__}.{kind.__qualname__}"


_KNOWN = _known()


def describe(error: BaseException) -> list[str]:
    """The names of an exception's types, its own first."""
    return [type_name(kind) for kind in type(error).__mro__]


def error_type(names: Sequence[str], own: Mapping[str, type[ProgramError]]) -> type[ProgramError]:
    """A type of exception for what the program raised: of the first of the named types that exists here.

    Args:
        names: What `describe` found in the program, which may be anything.
        own: The program's own types that tests name.
    """
    if names and names[0] in own:
        return own[names[0]]
    first = next((own.get(name) or _KNOWN[name] for name in names if name in own or name in _KNOWN), Exception)
    bases = (first,) if issubclass(first, ProgramError) else (ProgramError, first)
    name = names[0].rpartition(".")[2] if names else ""
    return type(name if name.isidentifier() else "Exception", bases, {})


def own_types(found: Mapping[str, object]) -> dict[str, type[ProgramError]]:
    """Types of exception for those of the program's that tests name, by the names under which they cross.

    Args:
        found: For each entry point that is such a type, the names of its types, as the program gives them.
    """
    own: dict[str, type[ProgramError]] = {}
    lists = [names for names in found.values() if isinstance(names, list) and all(isinstance(n, str) for n in names)]
    for names in sorted(filter(None, lists), key=len):  # a type before those derived from it
        own[names[0]] = error_type(names, own)
    return own


def local_type(names: Iterable[str]) -> type[BaseException]:
    """The same in the program's process, for what a test's function raised: of a type that exists there."""
    return next((_KNOWN[name] for name in names if name in _KNOWN), Exception)


def make(kind: type[Raised], arguments: Sequence[Any]) -> Raised:
    """An exception with these arguments, even if its type refuses them."""
    error = kind.__new__(kind, *arguments)
    try:
        error.__init__(*arguments)
    except Exception:
        error.args = tuple(arguments)
    return error
