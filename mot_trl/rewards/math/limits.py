"""Limits on what is read and computed: answers that would take too long are recognized by their text alone."""

import re
from itertools import accumulate

MAX_LENGTH = 1000  # characters of an answer
# SymPy's parser and simplification are far from linear; honest answers that need them are short.
_MAX_SYMBOLIC_LENGTH = 400
_MAX_DEPTH = 24
_MAX_POWERS = 24
# Python would compute these numbers exactly, digit by digit, before any time-out of its own could fire.
_LARGE = re.compile(
    r"\^\s*(?:[({]\s*)*[^(){}^]{0,40}\^"  # a tower of powers
    r"|\^\s*[({]*\s*-?\s*[0-9][0-9 ,]{3,}|\^\s*[({]*\s*-?\s*[0-9.]+[eE]"  # a large exponent
    r"|[0-9]{4,}\s*\)*\s*!|!\s*\)*\s*!|!\s*\^|\)\s*!"  # a large factorial, or one of an expression
    r"|[0-9]{40,}|[eE]\s*[0-9]{4,}"  # a large number
)
# Loops over a range, cheap over a short one.
_LOOPS = re.compile(r"\\(?:sum|prod|int|iint|iiint|oint|lim|bigcup|bigcap|binom)(?![a-zA-Z])")
_BRACKET = re.compile(r"[(){}\[\]]")
_LARGE_BOUND = re.compile(r"[0-9]{4,}")


def nesting_depth(text: str) -> int:
    """The depth to which brackets of any kind nest in `text`."""
    return max(accumulate((1 if bracket in "({[" else -1 for bracket in _BRACKET.findall(text)), initial=0))


def is_readable(text: str) -> bool:
    """Whether `text` is short and shallow enough to be read at all, in time quadratic in its length at worst."""
    return len(text) <= MAX_LENGTH and nesting_depth(text) <= _MAX_DEPTH


def is_balanced(text: str) -> bool:
    """Whether every brace of `text` that is not escaped has its partner."""
    levels = list(accumulate((1 if brace == "{" else -1 for brace in re.findall(r"(?<!\\)[{}]", text)), initial=0))
    return min(levels) == levels[-1] == 0


def is_computable(text: str) -> bool:
    """Whether computer algebra may be tried on `text`: balanced braces, no towers, large factorials or long loops."""
    # `}{` would close the box that the worker puts around the text.
    if not is_balanced(text) or len(text) > _MAX_SYMBOLIC_LENGTH:
        return False
    if text.count("^") > _MAX_POWERS or text.count(r"\sqrt") > _MAX_POWERS or _LARGE.search(text):
        return False
    loops = _LOOPS.findall(text)
    return len(loops) <= 3 and not (loops and _LARGE_BOUND.search(text))
