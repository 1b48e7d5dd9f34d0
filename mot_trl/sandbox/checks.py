"""Tell which statements of a test check the program, and mark them, so that a test that checks nothing is not passed.

A statement checks the program if it can fail because of data that came from it: an `assert`, a `raise` under an `if`,
`with pytest.raises(...)`, a call of `assert_allclose`. What came from the program is followed by names alone, whatever
the order of statements: rather a name too many than one too few, as a run must reach the statement, too.
"""

import ast
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

MARK = "__checked__"
_MARK, _MARK_RAISED = ast.parse(f"{MARK}()\n{MARK}(raised=True)").body
# What would have to happen in the program's process, where no test is.
_REACHING = ("redirect_stdout", "redirect_stderr", "patch")
_STREAMS = ("stdin", "stdout", "stderr")
_REACHING_WORDS = ("await ", "async ", "asyncio", "sys.std", *_REACHING)
_RAISES = ("raises", "assertRaises", "assertRaisesRegex")


def mark(
    tests: Sequence[str], names: Collection[str], *, setup: str = "", data: Collection[str] = ()
) -> list[tuple[ast.Module, bool]]:
    """Each test, with a call of MARK after each statement that checks the program, and whether there is one.

    In the handlers of a `try` that fails unless something raises, the call is `MARK(raised=True)`: a check if what
    raised was the program, rather than the `assert False` behind it.

    Args:
        tests: Sources, which run in one namespace, one after another.
        names: The names that come from the program: functions and classes, to be called.
        setup: What runs before the tests.
        data: Further names that come from the program, of data, whose truth alone may be checked.

    Raises:
        SyntaxError: A source is not Python.
        ValueError: A test needs the program in its own process: to await it, to read what it prints, to patch it.
    """
    trees = [ast.parse(source) for source in (setup, *tests)]
    for source, tree in zip(tests, trees[1:], strict=True):
        # Most tests hold none of these words, and need no look.
        if any(word in source for word in _REACHING_WORDS):
            _refuse_reaching(tree, names)
    marker = _Marker(trees, {*names}, {*data})
    return [(marker.visit(tree), marker.take()) for tree in trees[1:]]


def _refuse_reaching(tree: ast.AST, names: Collection[str]) -> None:
    for node in _walk([tree]):
        match node:
            case ast.Await() | ast.AsyncFor() | ast.AsyncWith():
                raise ValueError("a test awaits what the program does, which no other process can.")
            case ast.Call(func=ast.Attribute(value=ast.Name(id="asyncio"), attr=name)):
                raise ValueError(f"a test calls asyncio.{name}, and the program cannot be awaited from its process.")
            case ast.Attribute(value=ast.Name(id="sys"), attr=name, ctx=ast.Store()) if name in _STREAMS:
                raise ValueError(f"a test replaces sys.{name}, which is not that of the program's process.")
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if (
                name in _REACHING and name not in names
            ):
                raise ValueError(f"a test calls {name}, which does not reach the program's process.")


class _Marker(ast.NodeTransformer):
    def __init__(self, trees: Sequence[ast.AST], names: set[str], data: set[str]) -> None:
        self._trees, self._names, self._data = trees, names, data
        self._found = False

    # Most tests assert something of a call: these two take a while, and only the others need them.
    @cached_property
    def _used(self) -> set[str]:
        return _names_in(self._trees)

    @cached_property
    def _tainted(self) -> set[str]:
        return _follow(self._trees, self._names | self._data)

    def _asks(self, *nodes: ast.AST) -> bool:
        """Whether data from the program is in there."""
        return _mentions(nodes, self._names) or _mentions(nodes, self._tainted)

    def take(self) -> bool:
        """Whether there was a mark since the last call."""
        found, self._found = self._found, False
        return found

    def _mark(self, mark: ast.stmt) -> ast.stmt:
        self._found = True
        return mark

    def _after(self, node: ast.stmt, checks: bool) -> Any:
        return [node, self._mark(_MARK)] if checks else node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> Any:
        # Nothing runs what nobody mentions, such as a test for pytest to find.
        return self.generic_visit(node) if node.name in self._used or node.decorator_list else node

    def visit_ClassDef(self, node: ast.ClassDef) -> Any:
        if node.name in self._used:
            for part in node.body:
                self.generic_visit(part)  # its methods may be called by names that do not stand here
        return node

    def visit_Assert(self, node: ast.Assert) -> Any:
        return self._after(node, not _always_true(node.test, self._names) and self._asks(node.test))

    def visit_Expr(self, node: ast.Expr) -> Any:
        name = _called(node.value)
        return self._after(node, name.startswith("assert") and self._asks(node.value))

    def visit_With(self, node: ast.With) -> Any:
        expects = any(_called(item.context_expr) in _RAISES for item in node.items) or _fails(node.body)
        self.generic_visit(node)
        return self._after(node, expects and self._asks(*node.body))

    def visit_Try(self, node: ast.Try) -> Any:
        self.generic_visit(node)
        if _fails([*node.body, *node.orelse]) and self._asks(*node.body):
            for handler in node.handlers:
                handler.body.insert(0, self._mark(_MARK_RAISED))
        return node

    def visit_If(self, node: ast.If) -> Any:
        fails = _fails([*node.body, *node.orelse]) and self._asks(node.test)
        self._visit_branches(node)
        return self._after(node, fails)

    def visit_Match(self, node: ast.Match) -> Any:
        fails = any(_fails(case.body) for case in node.cases) and self._asks(node.subject)
        self.generic_visit(node)
        return self._after(node, fails)

    def visit_While(self, node: ast.While) -> Any:
        self._visit_branches(node)
        return node

    def _visit_branches(self, node: ast.If | ast.While) -> None:
        """Visit those that can be reached."""
        known = node.test.value if isinstance(node.test, ast.Constant) else None
        for branch, dead in (node.body, known is not None and not known), (node.orelse, bool(known)):
            if not dead:
                branch[:] = [new for old in branch for new in _as_list(self.visit(old))]


def _as_list(found: Any) -> list[ast.stmt]:
    return found if isinstance(found, list) else [found]


def _walk(trees: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """As `ast.walk`, in half the time: each test is walked before its first run."""
    nodes = [*trees]
    while nodes:
        yield (node := nodes.pop())
        for name in node._fields:
            part = getattr(node, name, None)
            if isinstance(part, ast.AST):
                nodes.append(part)
            elif isinstance(part, list):
                nodes += [item for item in part if isinstance(item, ast.AST)]


def _names_in(trees: Iterable[ast.AST], context: type[ast.expr_context] = ast.expr_context) -> set[str]:
    return {n.id for n in _walk(trees) if isinstance(n, ast.Name) and isinstance(n.ctx, context)}


def _mentions(trees: Iterable[ast.AST], names: Collection[str]) -> bool:
    return any(isinstance(node, ast.Name) and node.id in names for node in _walk(trees))


def _called(node: ast.AST) -> str:
    if not isinstance(node, ast.Call):
        return ""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _fails(statements: Iterable[ast.stmt]) -> bool:
    """Whether a run that reaches all of the statements fails."""
    return any(
        isinstance(node, ast.Raise)
        or (isinstance(node, ast.Assert) and isinstance(node.test, ast.Constant) and not node.test.value)
        or _called(node) == "fail"
        for node in _walk(statements)
    )


def _always_true(test: ast.expr, functions: Collection[str]) -> bool:
    """Whether an assert of this holds whatever the program does; `functions` are its own."""
    match test:
        case ast.Constant(value=value):
            return bool(value)
        case ast.Tuple(elts=parts) | ast.List(elts=parts) | ast.Set(elts=parts) | ast.JoinedStr(values=parts):
            return bool(parts)
        case ast.Lambda() | ast.GeneratorExp():
            return True
        case ast.Name(id=name):
            return name in functions
        case ast.Call(func=ast.Name(id="callable" | "isinstance" | "hasattr"), args=[ast.Name(id=name), *_]):
            return name in functions
        case ast.Compare(left=ast.Name(id=name), ops=[ast.NotEq() | ast.IsNot()]) if name in functions:
            return True
        case ast.Compare(left=left, ops=[ast.Eq() | ast.Is() | ast.LtE() | ast.GtE()], comparators=[right]):
            return type(left) is type(right) and ast.dump(left) == ast.dump(right)
        case ast.BoolOp(op=ast.Or(), values=parts):
            return any(_always_true(part, functions) for part in parts)
        case ast.BoolOp(values=parts):
            return all(_always_true(part, functions) for part in parts)
    return False


def _follow(trees: Sequence[ast.AST], names: set[str]) -> set[str]:
    """`names`, and all whose values may depend on theirs."""
    nodes = list(_walk(trees))
    parameters = {
        node.name: {found.arg for found in ast.walk(node.args) if isinstance(found, ast.arg)}
        for node in nodes
        if isinstance(node, ast.FunctionDef)
    }
    names = {*names}
    before = -1
    while len(names) > before:
        before = len(names)
        for node in nodes:
            for source, targets in _flows(node, parameters):
                if not targets <= names and _mentions(source, names):
                    names |= targets
    return names


def _flows(node: ast.AST, parameters: dict[str, set[str]]) -> Iterator[tuple[list[ast.AST], set[str]]]:
    """From where data gets into which names, in one node."""
    match node:
        case ast.Assign(targets=targets, value=value):
            yield [value], _names_in(targets)
        case ast.AnnAssign(target=target, value=ast.expr() as value) | ast.AugAssign(target=target, value=value):
            yield [value], _names_in([target])
        case ast.NamedExpr(target=target, value=value) | ast.comprehension(target=target, iter=value):
            yield [value], _names_in([target])
        case ast.withitem(context_expr=value, optional_vars=ast.expr() as target):
            yield [value], _names_in([target])
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            yield [node], {name}
        case ast.Call(func=function, args=arguments, keywords=keywords):
            # A call may change what it is given, and the object whose method it is.
            owner = [function.value] if isinstance(function, ast.Attribute) else []
            given = [*owner, *arguments, *(keyword.value for keyword in keywords)]
            yield [node], _names_in(given) | parameters.get(_called(node), set())
        case ast.If() | ast.While() | ast.For() | ast.Try() | ast.With() | ast.Match():
            # Whether these are assigned may be for the program to decide.
            yield [node], _names_in([node], ast.Store)
