r"""Compare LaTeX expressions and equations by their values at fixed random points, without `eval`, in bounded time.

Two expressions that differ at a point differ; two that agree at several random points are the same, but for accident.
Text outside the grammar below raises `Unreadable`, and the caller must decide by other means.
"""

import cmath
import math
import random
import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import lru_cache, partial

_TOKEN = re.compile(r"\\[a-zA-Z]+|[0-9]+(?:\.[0-9]+)?|\.[0-9]+|[a-zA-Z]|[-+*/^_(){}\[\]]")
_GREEK = r"\alpha\beta\gamma\delta\epsilon\varepsilon\theta\lambda\mu\nu\rho\sigma\tau\phi\varphi\omega\psi\xi"
_VARIABLES = frozenset(_TOKEN.findall(_GREEK))
_FUNCTIONS: dict[str, Callable[[complex], complex]] = {
    r"\sin": cmath.sin, r"\cos": cmath.cos, r"\tan": cmath.tan, r"\ln": cmath.log, r"\exp": cmath.exp,
    r"\cot": lambda z: 1 / cmath.tan(z), r"\sec": lambda z: 1 / cmath.cos(z), r"\csc": lambda z: 1 / cmath.sin(z),
    r"\arcsin": cmath.asin, r"\arccos": cmath.acos, r"\arctan": cmath.atan, r"\sinh": cmath.sinh,
    r"\cosh": cmath.cosh, r"\tanh": cmath.tanh,
}  # fmt: skip
_CONSTANTS: dict[str, complex] = {"i": 1j, "e": math.e, r"\pi": math.pi}
_BRACKETS = {"(": ")", "{": "}", "[": "]"}
_ENDS_PRODUCT = frozenset("+-/)}]^_")
_MAX_DEPTH = 40
# Relative size below which a term of a sum, or the sum itself, has too few correct digits left in a float.
_ABSORBED = 1e-6
_TOLERANCE = 1e-11
# More digits than floats can tell from the irrational number that they round.
_MAX_DECIMALS = 9
# Floats tell an exponent of 1/99 from its neighbors.
_MAX_ROOT = 99


class Unreadable(ValueError):  # noqa: N818  (a verdict on the text, not a fault)
    """The text is not an expression of this grammar, or has no finite value at the point."""


class NotReal(Unreadable):
    r"""The expression leaves the real numbers at a real point, as `\sqrt{x}` does below 0."""


def same_expression(gold: str, answer: str) -> bool | None:
    r"""Whether two normalized expressions agree wherever both have values; None where that cannot be told.

    Values are real where they can be: `\sqrt{1/n}` and `1/\sqrt n` are not compared at a negative n, where neither is
    real, and `\sqrt{x^2}` and `x` differ there. Only expressions that hold `i`, or are nowhere real, are compared as
    complex ones. A long decimal that agrees as far as floats go is a rounded value: False.
    """
    try:
        first, second = _tokens(gold), _tokens(answer)
        agree = all(_close(*values) for values in _values(first, second))
    except Unreadable:
        return None
    return agree and not any("." in token and len(token) > _MAX_DECIMALS for token in first + second)


def same_equation(gold: str, answer: str) -> bool | None:
    """Whether two equations have the same solutions up to a constant factor; None where that cannot be told."""
    sides = [*gold.split("="), *answer.split("=")]
    if len(sides) != 4:
        return None
    ratios = []
    try:
        for left, right, also_left, also_right in _values(*(_tokens(side) for side in sides)):
            first, second = left - right, also_left - also_right
            # An equation that holds everywhere, or nearly, has no ratio to compare.
            if min(abs(first), abs(second)) < 1e-9:
                return None
            ratios.append(first / second)
    except Unreadable:
        return None
    return all(_close(ratio, ratios[0]) for ratio in ratios)


def constant(text: str) -> float | None:
    """The value of a normalized expression that has no variable, or None."""
    try:
        value = _value(_tokens(text), _no_variable, is_real=True)
    except Unreadable:
        return None
    return None if value.imag else value.real


def _no_variable(name: str) -> complex:
    raise Unreadable(f"{name} has no value.")


def _values(*expressions: list[str]) -> Iterator[list[complex]]:
    """The values of several expressions at each point where all have one."""
    is_found = False
    # Without a variable, all points are one.
    constant = not any(token in _VARIABLES or token.isalpha() for tokens in expressions for token in tokens)
    if not any("i" in tokens for tokens in expressions):
        for point in _REAL_POINTS[:1] if constant else _REAL_POINTS:
            try:
                values = [_value(tokens, point, is_real=True) for tokens in expressions]
            except NotReal:
                continue
            is_found = True
            yield values
    if not is_found:
        yield from ([_value(tokens, point) for tokens in expressions] for point in _COMPLEX_POINTS)


@lru_cache(maxsize=1024)
def _coordinate(name: str, kind: str, seed: int) -> complex:
    """The value of the variable `name` at a point: the same in every process, and different for every name."""
    numbers = random.Random(f"{name} {seed}")
    size = numbers.uniform(0.6, 1.9)
    if kind == "complex":
        return cmath.rect(size, numbers.uniform(0.3, 2.8))
    return complex(-size if kind == "negative" or (kind == "mixed" and numbers.random() < 0.5) else size)


# Positive points first, where most expressions have values; the signs of several variables vary apart.
_REAL_KINDS = ("positive", "positive", "negative", *["mixed"] * 4)
_REAL_POINTS = [partial(_coordinate, kind=kind, seed=seed) for seed, kind in enumerate(_REAL_KINDS, start=1)]
_COMPLEX_POINTS = [partial(_coordinate, kind="complex", seed=seed) for seed in (8, 9)]


def _close(first: complex, second: complex) -> bool:
    return abs(first - second) <= _TOLERANCE * max(abs(first), abs(second))


def _tokens(text: str) -> list[str]:
    found = _TOKEN.findall(text)
    # What `findall` passed over belongs to no token.
    if "".join(found) != "".join(text.split()):
        raise Unreadable(f"Not an expression: {text[:40]!r}.")
    return found


def _value(tokens: list[str], variable: Callable[[str], complex], *, is_real: bool = False) -> complex:
    """The value of an expression, `variable` giving that of each variable; in the reals alone if `is_real`."""
    parser = _Parser(tokens, variable, is_real)
    try:
        value = parser.sum()
    except (OverflowError, ZeroDivisionError) as error:
        raise Unreadable(str(error)) from error
    if parser.ahead or not cmath.isfinite(value):
        raise Unreadable("Something follows the expression, or its value is not finite.")
    return value


def _power(base: complex, exponent: complex) -> complex:
    if base == 0 and (exponent.real <= 0 or exponent.imag):
        raise Unreadable("Zero to a power that is not positive.")
    if base.imag or exponent.imag:
        return complex(base**exponent)
    if base.real < 0:
        ratio = Fraction(exponent.real).limit_denominator(_MAX_ROOT)
        # Of a negative real number, an odd root is the real one, not the principal, a complex one.
        if ratio.denominator % 2 and ratio.denominator > 1 and abs(ratio - exponent.real) < _TOLERANCE:
            return complex((-1) ** ratio.numerator * (-base.real) ** exponent.real)
    # Of real numbers, so that `(-2)^{101}` gets no imaginary part by rounding.
    return complex(base.real**exponent.real)


class _Parser:
    """Recursive descent: each method reads one rule of the grammar and returns its value."""

    def __init__(self, tokens: list[str], variable: Callable[[str], complex], is_real: bool) -> None:
        # The empty token marks the end, so that looking ahead needs no bounds check.
        self.tokens, self.variable, self.is_real = [*tokens, ""], variable, is_real
        self.position = self.depth = 0

    @property
    def ahead(self) -> str:
        return self.tokens[self.position]

    def next(self, expected: str = "") -> str:
        token = self.ahead
        if not token or (expected and token != expected):
            raise Unreadable(f"Expected {expected or 'more'}, got {token!r}.")
        self.position += 1
        return token

    def accept(self, *tokens: str) -> str:
        """Read the token ahead if it is one of `tokens`, else return an empty one."""
        return self.next() if self.ahead in tokens else ""

    def sum(self) -> complex:
        terms = [self.product()]
        while sign := self.accept("+", "-"):
            terms.append(self.product() if sign == "+" else -self.product())
        value = sum(terms)
        largest = max(map(abs, terms))
        # `2^{100} - 1` and `2^{100}` are one float: where a term or the whole all but vanishes, floats cannot tell.
        if any(abs(part) < _ABSORBED * largest for part in [*terms, value]):
            raise Unreadable("A sum loses its digits.")
        return value

    def product(self, *, argument: bool = False) -> complex:
        """Factors, implicit multiplication too; a function's bare `argument` ends at the next function or division."""
        sign = self.sign()
        value = self.power()
        while self.ahead:
            if self.accept("*", r"\cdot"):
                value *= self.sign() * self.power()
            elif not argument and self.accept("/"):
                value /= self.power()
            elif self.ahead in _ENDS_PRODUCT or (argument and self.ahead in _FUNCTIONS):
                break
            elif self.ahead[0].isdigit():
                # `2 3`, `x 2`: hardly a product, and perhaps a mixed number.
                raise Unreadable("A number follows a factor.")
            else:
                value *= self.power()
        return sign * value

    def sign(self) -> int:
        sign = 1
        while token := self.accept("+", "-"):
            sign *= -1 if token == "-" else 1
        return sign

    def power(self) -> complex:
        base = self.factor()
        return self.checked(_power(base, self.exponent())) if self.accept("^") else base

    def checked(self, value: complex) -> complex:
        """The value of a power or a function, which may lead out of the reals."""
        if self.is_real and value.imag:
            raise NotReal("Not a real number.")
        return value

    def exponent(self) -> complex:
        """A group in braces or parentheses, or one token."""
        if self.ahead in ("{", "("):
            return self.factor()
        token = self.next()
        # TeX would raise to the first digit alone, but who writes `x^10` means the tenth power.
        return complex(token) if token[0].isdigit() else self.named(token)

    def factor(self) -> complex:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise Unreadable("Nested too deeply.")
        value = self.bracketed(self.ahead) if self.ahead in _BRACKETS else self.operand(self.next())
        self.depth -= 1
        return value

    def operand(self, token: str) -> complex:
        if token[0].isdigit() or token[0] == ".":
            return complex(token)
        if token == r"\frac":
            return self.bracketed() / self.bracketed()
        if token == r"\sqrt":
            return self.root()
        return self.applied(_FUNCTIONS[token]) if token in _FUNCTIONS else self.named(token)

    def bracketed(self, opening: str = "{") -> complex:
        self.next(opening)
        value = self.sum()
        self.next(_BRACKETS[opening])
        return value

    def root(self) -> complex:
        degree = self.bracketed("[") if self.ahead == "[" else 2 + 0j
        value = self.bracketed() if self.ahead == "{" else self.factor()
        return self.checked(_power(value, 1 / degree))

    def applied(self, function: Callable[[complex], complex]) -> complex:
        power = self.exponent() if self.accept("^") else 1 + 0j
        if power.real < 0:
            raise Unreadable("An inverse function or a power?")
        value = self.factor() if self.ahead in ("(", "{") else self.product(argument=True)
        try:
            value = function(value)
        except ValueError as error:  # outside the function's domain
            raise Unreadable(str(error)) from error
        return self.checked(_power(value, power) if power != 1 else value)

    def named(self, token: str) -> complex:
        """A constant or a variable, perhaps with a subscript, which then is part of the name."""
        if token not in _VARIABLES and token not in _CONSTANTS and not (len(token) == 1 and token.isalpha()):
            raise Unreadable(f"Unknown command or misplaced {token!r}.")
        if not self.accept("_"):
            return _CONSTANTS[token] if token in _CONSTANTS else self.variable(token)
        name = self.next()
        if name == "{":
            while not name.endswith("}"):
                name += self.next()
            name = name[1:-1]
        return self.variable(f"{token}_{name}")
