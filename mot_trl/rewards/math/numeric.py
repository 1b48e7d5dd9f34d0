r"""The value of a LaTeX expression at given numbers for its variables, in bounded time and without `eval`.

Two expressions that differ at a point differ; two that agree at several random ones are the same but for accident.
What the grammar below does not know raises `Unreadable`: the caller must decide otherwise.
"""

import cmath
import math
import re
from collections.abc import Callable

_TOKEN = re.compile(r"\s*(\\[a-zA-Z]+|[0-9]+(?:\.[0-9]+)?|\.[0-9]+|[a-zA-Z]|[-+*/^_(){}\[\]])")
_GREEK = frozenset(
    "\\" + name
    for name in re.findall(
        "[a-z]+", "alpha beta gamma delta epsilon varepsilon theta lambda mu nu rho sigma tau phi varphi omega psi xi"
    )
)
_FUNCTIONS: dict[str, Callable[[complex], complex]] = {
    r"\sin": cmath.sin, r"\cos": cmath.cos, r"\tan": cmath.tan, r"\ln": cmath.log, r"\exp": cmath.exp,
    r"\cot": lambda z: 1 / cmath.tan(z), r"\sec": lambda z: 1 / cmath.cos(z), r"\csc": lambda z: 1 / cmath.sin(z),
    r"\arcsin": cmath.asin, r"\arccos": cmath.acos, r"\arctan": cmath.atan, r"\sinh": cmath.sinh,
    r"\cosh": cmath.cosh, r"\tanh": cmath.tanh,
}  # fmt: skip
_CONSTANTS: dict[str, complex] = {"i": 1j, "e": math.e, r"\pi": math.pi}
_TIMES = {"*", r"\cdot"}
_MAX_DEPTH = 40
_ABSORBED = 1e-6


class Unreadable(ValueError):  # noqa: N818  (a verdict on the text, not a fault)
    """The text is not an expression this grammar knows, or has no finite value there."""


def tokens(text: str) -> list[str]:
    """The tokens of a normalised `text`; raises `Unreadable` at the first character that begins none."""
    found, position = [], 0
    text = text.rstrip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise Unreadable(f"No token begins at {text[position : position + 10]!r}.")
        found.append(match.group(1))
        position = match.end()
    return found


def evaluate(expression: list[str], variable: Callable[[str], complex]) -> complex:
    """The value of tokenised `expression`, `variable` giving that of each variable; raises `Unreadable`."""
    parser = _Parser(expression, variable)
    try:
        value = parser.sum()
    except (OverflowError, ZeroDivisionError) as error:
        raise Unreadable(str(error)) from error
    if parser.peek() is not None or not cmath.isfinite(value):
        raise Unreadable("The text goes on behind the expression, or its value is not finite.")
    return value


class _Parser:
    """Recursive descent; each method reads one rule of the grammar and returns its value."""

    def __init__(self, expression: list[str], variable: Callable[[str], complex]) -> None:
        self.tokens = expression
        self.variable = variable
        self.position = 0
        self.depth = 0

    def peek(self) -> str | None:
        return self.tokens[self.position] if self.position < len(self.tokens) else None

    def next(self, expected: str | None = None) -> str:
        token = self.peek()
        if token is None or (expected is not None and token != expected):
            raise Unreadable(f"Expected {expected or 'more'}, got {token!r}.")
        self.position += 1
        return token

    def sum(self) -> complex:
        terms = [self.product()]
        while self.peek() in ("+", "-"):
            terms.append(self.product() if self.next() == "+" else -self.product())
        value = sum(terms)
        largest = max(map(abs, terms))
        # `2^{100} - 1` and `2^{100}` are one float: where a term or the whole all but vanishes, floats cannot tell.
        if any(abs(part) < _ABSORBED * largest for part in [*terms, value]):
            raise Unreadable("A sum loses its digits.")
        return value

    def product(self, *, argument: bool = False) -> complex:
        """Factors, implicit multiplication too; a function's bare `argument` ends at the next function or division."""
        sign = 1
        while self.peek() in ("+", "-"):
            sign *= -1 if self.next() == "-" else 1
        value = self.power()
        while (token := self.peek()) is not None:
            if token in _TIMES:
                self.next()
                value *= -self.power_signed() if self.peek() == "-" else self.power()
            elif token == "/" and not argument:
                self.next()
                value /= self.power()
            elif (argument and token in _FUNCTIONS) or token in ("+", "-", "/", ")", "}", "]", "^", "_"):
                break
            elif token[0].isdigit():
                # `2 3`, `x 2`: nobody writes products so; it may be a mixed number.
                raise Unreadable("A number follows a factor.")
            else:
                value *= self.power()
        return sign * value

    def power_signed(self) -> complex:
        self.next("-")
        return self.power()

    def power(self) -> complex:
        base = self.factor()
        if self.peek() != "^":
            return base
        self.next()
        return self.raised(base, self.exponent())

    def raised(self, base: complex, exponent: complex) -> complex:
        if base == 0 and (exponent.real <= 0 or exponent.imag):
            raise Unreadable("Zero to a power that is not positive.")
        value = base**exponent
        return complex(value)

    def exponent(self) -> complex:
        """A group in braces or parentheses, or one token."""
        if self.peek() in ("{", "("):
            return self.factor()
        token = self.next()
        if token[0].isdigit():
            # TeX would raise to the first digit alone; whoever writes `x^10` means the tenth power.
            return complex(token)
        return self.named(token)

    def factor(self) -> complex:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise Unreadable("Nested too deeply.")
        try:
            return self.unguarded_factor()
        finally:
            self.depth -= 1

    def unguarded_factor(self) -> complex:
        token = self.next()
        if token in ("(", "{", "["):
            value = self.sum()
            self.next({"(": ")", "{": "}", "[": "]"}[token])
            return value
        if token[0].isdigit() or token[0] == ".":
            return complex(float(token))
        if token == r"\frac":
            top, bottom = self.group(), self.group()
            return top / bottom
        if token == r"\sqrt":
            return self.root()
        if token in _FUNCTIONS:
            return self.applied(_FUNCTIONS[token])
        return self.named(token)

    def group(self) -> complex:
        self.next("{")
        value = self.sum()
        self.next("}")
        return value

    def root(self) -> complex:
        degree = 2 + 0j
        if self.peek() == "[":
            self.next()
            degree = self.sum()
            self.next("]")
        value = self.group() if self.peek() == "{" else self.factor()
        if value.imag == 0 and value.real < 0 and degree.imag == 0 and degree.real % 2 == 1:
            return -((-value) ** (1 / degree))
        return self.raised(value, 1 / degree)

    def applied(self, function: Callable[[complex], complex]) -> complex:
        power = 1 + 0j
        if self.peek() == "^":
            self.next()
            power = self.exponent()
            if power.real < 0:
                raise Unreadable("An inverse function or a power?")
        value = self.factor() if self.peek() in ("(", "{") else self.product(argument=True)
        try:
            return self.raised(function(value), power) if power != 1 else function(value)
        except ValueError as error:
            raise Unreadable(str(error)) from error

    def named(self, token: str) -> complex:
        if token not in _GREEK and token not in _CONSTANTS and not (len(token) == 1 and token.isalpha()):
            raise Unreadable(f"Unknown command or misplaced {token!r}.")
        if self.peek() != "_":
            return _CONSTANTS[token] if token in _CONSTANTS else self.variable(token)
        self.next()
        braced = self.peek() == "{"
        name = self.next()
        while braced and self.peek() != "}":
            name += self.next()
        if braced:
            self.next("}")
        return self.variable(f"{token}_{name.strip('{')}")
