"""Grammars that an answer must pass before a scorer sees it, as some run it as Python, and others read too much in it.

polynomial_multiplication and both integrations call SymPy's `parse_expr`, which is `eval` in disguise. An admitted
answer can name nothing but letters and a few functions, call nothing else, and reach no attribute; and it is small
enough to be computed. The sandbox around the scorer is the second defense. Moves and mappings must be nothing else,
as scorers pick them out of any text.
"""

import ast
import re
from collections.abc import Callable

from mot_trl.rewards.math.limits import nesting_depth

MAX_CHARACTERS = 4096
"""Longer answers are wrong, unless the gold is about as long itself."""

_PLAIN = re.compile(r"[0-9A-Za-z_ \n]*")
# SymPy computes every digit of `1e999999999`, in which Python sees an infinity, and in `1e-999999999` a zero.
_FORMULA = re.compile(r"(?!.*\d[.]?[eE][+-]?\d{3})[0-9A-Za-z+*/(). \n-]*", re.DOTALL)
# Sizes beyond those of any gold, within which Python and SymPy take milliseconds.
_MAX_NODES = 600
_MAX_DIGITS = 12
_MAX_DEPTH = 30
_MAX_EXPONENT = 24
_MAX_TOWER = 3
_MAX_LOGIC = 400
_FUNCTIONS = {"sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "exp", "log", "ln", "sqrt"}
_OPERATIONS = (ast.BinOp, ast.UnaryOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.UAdd, ast.USub)


def is_admissible(task: str, answer: str, gold: str) -> bool:
    """Whether the scorer of `task` may see the stripped `answer`; if not, it is wrong. Takes linear time."""
    if not answer or len(answer) > max(MAX_CHARACTERS, 4 * len(gold)):
        return False
    # Python's int() and float() read digits of any script, which honest answers do not have.
    if not answer.isascii() and any(c.isnumeric() and not c.isascii() and c not in gold for c in answer):
        return False
    # The other scorers read an answer as a whole by themselves.
    check = _CHECKS.get(task)
    return check is None or check(answer)


def _is_sequence(answer: str) -> bool:
    """Buttons A to C and separators: the scorer would pick those letters out of any text."""
    return re.fullmatch(r"[A-Ca-c\s,;>\u2192-]*", answer) is not None


def _is_literal(answer: str) -> bool:
    """A list, perhaps nested, of numbers and strings; or words and numbers without an operator or bracket."""
    # Words without operators can call nothing, even where a scorer evaluates them.
    if _PLAIN.fullmatch(answer):
        return "__" not in answer
    nodes = _nodes(answer)
    return bool(nodes) and isinstance(nodes[0], ast.List) and all(map(_is_literal_node, nodes))


def _is_literal_node(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str) or _is_small(node)
    return isinstance(node, (ast.List, ast.Load, ast.UnaryOp, ast.USub))


def _is_arithmetic(answer: str) -> bool:
    """Integers under `+ - * /`."""
    nodes = _FORMULA.fullmatch(answer) and _nodes(answer)
    return bool(nodes) and all(map(_is_arithmetic_node, nodes))


def _is_arithmetic_node(node: ast.AST) -> bool:
    # `type`, as a bool is an int to `isinstance`.
    if isinstance(node, ast.Constant):
        return type(node.value) is int and _is_small(node)
    return isinstance(node, _OPERATIONS)


def _is_expression(answer: str) -> bool:
    """Numbers, letters, elementary functions of one argument, and powers that stay small."""
    nodes = _FORMULA.fullmatch(answer) and _nodes(answer)
    return bool(nodes) and all(map(_is_expression_node, nodes)) and _tower(nodes[0]) <= _MAX_TOWER


def _is_expression_node(node: ast.AST) -> bool:
    match node:
        case ast.Constant():
            return _is_small(node)
        # One letter is a variable to SymPy; the names of Python that could do harm are longer.
        case ast.Name(id=name):
            return len(name) == 1 or name == "pi" or name in _FUNCTIONS
        # No keyword, no star, and the function by its name: not something that an expression returned.
        case ast.Call(func=ast.Name(id=name), args=[_], keywords=[]):
            return name in _FUNCTIONS
        case ast.BinOp(op=ast.Pow(), right=exponent):
            return all(map(_is_exponent_node, ast.walk(exponent)))
    return isinstance(node, (*_OPERATIONS, ast.Pow, ast.Load))


def _is_exponent_node(node: ast.AST) -> bool:
    # Powers may hold variables, but no power of a power: `9**9**9` would be computed to the last digit.
    if isinstance(node, ast.Constant):
        return _is_small(node) and abs(node.value) <= _MAX_EXPONENT  # ty: ignore[invalid-argument-type]
    return not isinstance(node, ast.Pow)


def _tower(node: ast.AST) -> int:
    """The number of powers nested in one another."""
    below = max(map(_tower, ast.iter_child_nodes(node)), default=0)
    return below + (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow))


def _is_small(node: ast.Constant) -> bool:
    return type(node.value) in (int, float) and len(repr(node.value)) <= _MAX_DIGITS


def _nodes(answer: str) -> list[ast.AST]:
    """The nodes of an expression's tree, its root first; none where it is no expression, or too large or deep."""
    # Comments and continued lines: SymPy's tokenizer and Python's may read them differently. And on some hundred
    # nested brackets, Python's own parser fails in a way that fills memory.
    if "#" in answer or "\\" in answer or nesting_depth(answer) > _MAX_DEPTH:
        return []
    try:
        nodes = list(ast.walk(ast.parse(answer, mode="eval").body))
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return []
    return nodes if len(nodes) <= _MAX_NODES else []


def _form(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern, re.ASCII)
    return lambda answer: compiled.fullmatch(answer) is not None


def _is_formula(answer: str) -> bool:
    """A formula of logic, small and shallow, as it is read in quadratic time."""
    shallow = nesting_depth(answer) <= _MAX_DEPTH and "\u00ac\u00ac\u00ac" not in "".join(answer.split())
    return len(answer) <= _MAX_LOGIC and shallow and _is_logic(answer)


_is_logic = _form(r"[A-Z()\s\u2227\u2228\u00ac\u2192\u2194]*")

_CHECKS: dict[str, Callable[[str], bool]] = {
    **dict.fromkeys(("binary_matrix", "n_queens", "spiral_matrix", "string_insertion"), _is_literal),
    **dict.fromkeys(("countdown", "puzzle24"), _is_arithmetic),
    **dict.fromkeys(("polynomial_multiplication", "simple_integration", "intermediate_integration"), _is_expression),
    "bitwise_arithmetic": _form(r"-?(?:0[xX][0-9a-fA-F]+|\d+)"),
    "complex_arithmetic": _form(r"\(? ?[+-]? ?[\d.]*[ij]?(?: ?[+-] ?[\d.]*[ij]?)? ?\)?"),
    "cryptarithm": _form(r"[A-Za-z]\s*=\s*\d(?:\s*,\s*[A-Za-z]\s*=\s*\d)*"),
    "power_function": _form(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?"),
    "propositional_logic": _is_formula,
    "quantum_lock": _is_sequence,
    # Three digits would be as many turns, of which four are none.
    "rubiks_cube": _form(r"(?:(?:\d?[LRDUBF]w?|[XYZMES])'?\d?(?:\s+|$))+"),
    "rush_hour": _form(r"[A-Z][+-][1-5](?:[\s,]+[A-Z][+-][1-5])*"),
    "sokoban": _form(r"[LRUD\s]+"),
    "tower_of_hanoi": _form(r"(?:Move disk \d+ from Peg \d+ to Peg \d+\s*)+"),
}

EXECUTED = frozenset((
    "binary_matrix", "countdown", "intermediate_integration", "n_queens", "polynomial_multiplication", "puzzle24",
    "simple_integration", "spiral_matrix", "string_insertion",
))  # fmt: skip
"""The datasets whose scorers in Reasoning Gym run the answer."""
