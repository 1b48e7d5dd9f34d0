"""One function of the library, with all it needs of the library, as the source of a single self-contained file."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path

PACKAGE = __name__.partition(".")[0]

# Shapes are for people and type checkers; the file must run where jaxtyping is not installed.
SHAPES = "jaxtyping"
SHAPE_CLASS = '''
class _Shaped:
    """Stands for jaxtyping's shapes, which nothing reads while the program runs."""

    def __class_getitem__(cls, item: tuple) -> object:
        return item[0]


{names} = _Shaped
'''


@dataclass
class _Module:
    """One source file, cut into its top-level statements.

    Attributes:
        name: Dotted name.
        summary: First line of its docstring.
        definitions: For each name bound here, the statement that binds it.
        imported: For each name imported from the library, the module and the name there.
        external: For each name imported from elsewhere, the import statement of it alone.
    """

    name: str
    summary: str
    definitions: dict[str, "_Statement"] = field(default_factory=dict)
    imported: dict[str, tuple[str, str]] = field(default_factory=dict)
    external: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Statement:
    source: str
    node: ast.stmt


def flatten(module: str, name: str) -> str:
    """Source that defines what `module` calls `name`, and imports nothing of the library.

    Statements are copied as they stand, comments included, from the modules in the order of their imports; those that
    `name` does not lead to are left out. A function or class gets another name where two modules use the same.

    Raises:
        ValueError: The source does something that cannot be copied into one file: it imports a module of the library
            as a whole, a name under another name or inside a function, or two modules bind one name to two values.
        OSError: The source files are not there to be read.
    """
    order = list(_in_order(module))
    needed = _needed(module, name)
    owners = _owners(order, needed)
    imports: dict[str, str] = {}
    parts = []
    for each in order:
        chosen = [bound for bound in each.definitions if (each.name, bound) in needed]
        for bound, statement in each.external.items():
            if (each.name, bound) not in needed:
                continue
            if imports.setdefault(bound, statement) != statement or bound in owners:
                raise ValueError(f"{each.name} imports {bound!r}, which is something else in another module.")
        statements = dict.fromkeys(
            _renamed(each, each.definitions[bound].source, needed, owners)
            for bound in chosen
            if owners[bound][0] == each.name or owners[bound][1] != each.definitions[bound].source
        )
        if statements:
            path = each.name.replace(".", "/")
            parts.append(f"# {path}: {each.summary}\n\n" + "\n\n\n".join(statements))
    shapes = [bound for bound, statement in imports.items() if statement.startswith(f"from {SHAPES} ")]
    shaped = SHAPE_CLASS.format(names=" = ".join(sorted(shapes))) if shapes else ""
    header = _joined(statement for bound, statement in imports.items() if bound not in shapes)
    return "\n\n\n".join(filter(None, [header, shaped.strip("\n"), *parts])) + "\n"


def _joined(imports: Iterable[str]) -> str:
    """Import statements, one a module."""
    names: defaultdict[str, set[str]] = defaultdict(set)
    for statement in imports:
        source, _, name = statement.partition(" import ")
        names[source].add(name)
    whole = sorted(source for source, given in names.items() if given == {""})
    some = sorted(f"{source} import {', '.join(sorted(given))}" for source, given in names.items() if given != {""})
    return "\n".join([*whole, "", *some])


def _in_order(name: str) -> Iterator[_Module]:
    """A module after those that it imports, each once."""
    seen: set[str] = set()

    def visit(name: str) -> Iterator[_Module]:
        if name in seen:
            return
        seen.add(name)
        module = _read(name)
        for source, _ in module.imported.values():
            yield from visit(source)
        yield module

    yield from visit(name)


@cache
def _read(name: str) -> _Module:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise OSError(f"The source of {name} is not there to be read.")
    source = Path(spec.origin).read_text(encoding="utf-8")
    tree, lines = ast.parse(source), source.splitlines()
    module = _Module(name, (ast.get_docstring(tree) or "").partition("\n")[0])
    end, last = 0, ""
    for node in tree.body:
        text = "\n".join(lines[end : node.end_lineno]).strip("\n")
        end = node.end_lineno or 0
        if isinstance(node, ast.ImportFrom | ast.Import):
            _read_import(module, node)
        elif isinstance(node, ast.Expr) and last in module.definitions:
            # The docstring of a variable belongs to the line above it.
            above = module.definitions[last]
            module.definitions[last] = _Statement(f"{above.source}\n{text}", above.node)
        else:
            _refuse_inner_imports(module, node)
            for last in _bound_by(node):
                module.definitions[last] = _Statement(text, node)
            continue
        last = ""
    return module


def _read_import(module: _Module, node: ast.ImportFrom | ast.Import) -> None:
    for alias in node.names:
        bound = alias.asname or alias.name.partition(".")[0]
        given = alias.name if alias.asname is None else f"{alias.name} as {alias.asname}"
        source = node.module or "" if isinstance(node, ast.ImportFrom) else alias.name
        if source.partition(".")[0] != PACKAGE:
            module.external[bound] = (
                f"from {source} import {given}" if isinstance(node, ast.ImportFrom) else f"import {given}"
            )
        elif isinstance(node, ast.Import) or alias.asname or source == PACKAGE:
            raise ValueError(
                f"{module.name}, line {node.lineno}: import names of the library as `from module import name`."
            )
        else:
            module.imported[bound] = (source, alias.name)


def _refuse_inner_imports(module: _Module, node: ast.stmt) -> None:
    for inner in ast.walk(node):
        if isinstance(inner, ast.ImportFrom) and (inner.module or "").partition(".")[0] == PACKAGE:
            raise ValueError(
                f"{module.name}, line {inner.lineno}: import names of the library at the top of the file."
            )


def _bound_by(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = (
        node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    )
    return [name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]


def _needed(module: str, name: str) -> set[tuple[str, str]]:
    """Everything that `name` leads to: definitions and imports, by module and name."""
    found: set[tuple[str, str]] = set()
    left = [(module, name)]
    while left:
        where, name = left.pop()
        here = _read(where)
        if name in here.imported:
            left.append(here.imported[name])
        elif name in here.external:
            found.add((where, name))
        elif name in here.definitions and (where, name) not in found:
            found.add((where, name))
            node = here.definitions[name].node
            left += [(where, used.id) for used in ast.walk(node) if isinstance(used, ast.Name)]
    return found


def _owners(order: list[_Module], needed: set[tuple[str, str]]) -> dict[str, tuple[str, str]]:
    """The first module that defines each name, and the source it has there."""
    owners: dict[str, tuple[str, str]] = {}
    for module in order:
        for name, statement in module.definitions.items():
            if (module.name, name) in needed:
                owners.setdefault(name, (module.name, statement.source))
    return owners


def _renamed(module: _Module, source: str, needed: set[tuple[str, str]], owners: dict[str, tuple[str, str]]) -> str:
    """A statement of a module, with other names for what another module has defined under the same."""
    visible = {**dict.fromkeys(module.definitions, module.name), **{n: w for n, (w, _) in module.imported.items()}}
    for name, where in visible.items():
        statement = _read(where).definitions.get(name)
        if (where, name) not in needed or statement is None or owners[name][0] == where:
            continue
        if owners[name][1] == statement.source:
            continue  # the same statement, such as a logger: the first serves both
        if not isinstance(statement.node, ast.FunctionDef | ast.ClassDef):
            raise ValueError(f"{where} and {owners[name][0]} bind {name!r} to different values; rename one.")
        other = f"{name}_of_{where.rpartition('.')[2]}"
        source = re.sub(rf"(?<![\w.]){name}\b(?!\s*=[^=])", other, source)
    return source
