"""Which answers may reach a scorer of Reasoning Gym: nine of them run the answer as Python.

`eval` in binary_matrix, n_queens, spiral_matrix and string_insertion; sympy's `parse_expr`, which is `eval` in
disguise, in countdown, puzzle24, polynomial_multiplication and both integrations. What this lets through can name
nothing but letters and a few functions, call nothing else, and reach no attribute; and it is small enough to be
computed. The sandbox around the scorer is the second wall.
"""

import ast
import re
from collections.abc import Callable

MAX_CHARACTERS = 4096
"""Longer answers are wrong, unless the gold is of that order itself."""

_PLAIN = re.compile(r"[0-9A-Za-z_ \n]*")
_FORMULA = re.compile(r"[0-9A-Za-z+*/(). \n-]*")
_MAX_NODES = 600
_MAX_DIGITS = 12
_MAX_DEPTH = 30
_MAX_EXPONENT = 24
_MAX_TOWER = 3
_FUNCTIONS = frozenset(
    ("sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "exp", "log", "ln", "sqrt")
)
_NAMES = _FUNCTIONS | {"pi"}
_OPERATIONS = (ast.BinOp, ast.UnaryOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.UAdd, ast.USub)


def is_admissible(task: str, answer: str, gold: str) -> bool:
    """Whether the scorer of `task` may see `answer`, which is stripped; if not, it is wrong.

    Takes time linear in the answer's length.
    """
    if not answer or len(answer) > max(MAX_CHARACTERS, 4 * len(gold)):
        return False
    # Python's int() and float() take digits of any script; nobody who answers honestly does.
    if not answer.isascii() and any(c.isnumeric() and not c.isascii() and c not in gold for c in answer):
        return False
    check = _CHECKS.get(task)
    return check is None or check(answer)


def _is_finite(answer: str) -> bool:
    """No `nan`, which is as near to every complex number as can be, and no `inf`."""
    return re.search(r"nan|inf", answer, re.IGNORECASE) is None


def _is_sequence(answer: str) -> bool:
    """Buttons A to C and what may stand between them: the scorer picks those letters out of any text."""
    return re.fullmatch(r"[A-Ca-c\s,;>\u2192-]*", answer) is not None


def _is_literal(answer: str) -> bool:
    """A list, perhaps of lists, of numbers and strings; or words and numbers without an operator or bracket."""
    if _PLAIN.fullmatch(answer):
        return "__" not in answer
    tree = _parsed(answer)
    return tree is not None and isinstance(tree, ast.List) and all(map(_is_literal_node, ast.walk(tree)))


def _is_literal_node(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str) or _is_small(node)
    return isinstance(node, (ast.List, ast.Load, ast.UnaryOp, ast.USub))


def _is_arithmetic(answer: str) -> bool:
    """Whole numbers under `+ - * /`."""
    tree = _parsed(answer) if _FORMULA.fullmatch(answer) else None
    return tree is not None and all(map(_is_arithmetic_node, ast.walk(tree)))


def _is_arithmetic_node(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant):
        return type(node.value) is int and _is_small(node)
    return isinstance(node, _OPERATIONS)


def _is_expression(answer: str) -> bool:
    """Numbers, letters, elementary functions of one argument, and powers that stay small."""
    tree = _parsed(answer) if _FORMULA.fullmatch(answer) else None
    return tree is not None and all(map(_is_expression_node, ast.walk(tree))) and _tower(tree) <= _MAX_TOWER


def _is_expression_node(node: ast.AST) -> bool:
    match node:
        case ast.Constant():
            return _is_small(node)
        case ast.Name(id=name):
            return len(name) == 1 or name in _NAMES
        case ast.Call(func=ast.Name(id=name), args=[_], keywords=[]):
            return name in _FUNCTIONS
        case ast.BinOp(op=ast.Pow(), right=exponent):
            return all(map(_is_exponent_node, ast.walk(exponent)))
    return isinstance(node, (*_OPERATIONS, ast.Pow, ast.Load))


def _is_exponent_node(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant):
        return _is_small(node) and abs(node.value) <= _MAX_EXPONENT  # ty: ignore[invalid-argument-type]
    return not isinstance(node, ast.Pow)


def _tower(node: ast.AST) -> int:
    """How many powers are taken of one another."""
    below = max(map(_tower, ast.iter_child_nodes(node)), default=0)
    return below + (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow))


def _is_small(node: ast.Constant) -> bool:
    return type(node.value) in (int, float) and len(repr(node.value)) <= _MAX_DIGITS


def _parsed(answer: str) -> ast.expr | None:
    # Comments and continued lines are what one reader of Python sees and another does not.
    if "#" in answer or "\\" in answer or _deepest(answer) > _MAX_DEPTH:
        return None
    try:
        tree = ast.parse(answer, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    return tree if sum(1 for _ in ast.walk(tree)) <= _MAX_NODES else None


def _deepest(answer: str) -> int:
    """How deep brackets are nested: Python's own parser fails on some hundred, in a way that fills memory."""
    depth = deepest = 0
    for character in answer:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    return deepest


_CHECKS: dict[str, Callable[[str], bool]] = {
    "binary_matrix": _is_literal,
    "n_queens": _is_literal,
    "spiral_matrix": _is_literal,
    "string_insertion": _is_literal,
    "countdown": _is_arithmetic,
    "puzzle24": _is_arithmetic,
    "polynomial_multiplication": _is_expression,
    "simple_integration": _is_expression,
    "intermediate_integration": _is_expression,
    "complex_arithmetic": _is_finite,
    "quantum_lock": _is_sequence,
}

EXECUTED = frozenset(_CHECKS) - {"complex_arithmetic", "quantum_lock"}
"""The data sets whose scorers run the answer."""
