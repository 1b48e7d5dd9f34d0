"""Score answers with Reasoning Gym's scorers. Only the sandbox imports this file, before it sees any answer."""

import cmath
import copy
import dataclasses
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import sympy
from reasoning_gym.factory import DATASETS, create_dataset

# Five datasets take 0.1 to 0.4 s to set up, so all are ready before processes are forked.
_SCORERS = {task: create_dataset(task, seed=0, size=1) for task in DATASETS if task != "composite"}

PARTIAL = frozenset((
    # A solution that is valid but not the best, or right but in another form:
    "binary_matrix", "knight_swap", "n_queens", "prime_factorization", "quantum_lock", "shortest_path",
    "spiral_matrix", "string_insertion", "tower_of_hanoi", "word_ladder",
    # Parts of a solution that were hard to come by:
    "boxnet", "futoshiki", "game_of_life", "knights_knaves", "mini_sudoku", "sentence_reordering", "sudoku",
    "word_sorting",
))  # fmt: skip
"""Datasets whose partial credit counts. Others give it to answers that merely contain the gold, or come near it."""

# What scorers give to any answer at all.
_ATTEMPT = 0.05


def score_all(rows: list[tuple[str, dict[str, Any], dict[str, Any], str]]) -> list[float]:
    """The scores in [0, 1] of several answers, each with its dataset, the dataset's settings and the entry."""
    return [_score(*row) for row in rows]


def _score(task: str, config: dict[str, Any], entry: dict[str, Any], answer: str) -> float:
    try:
        scored = float(_OWN.get(task, _original)(task, config, entry, answer))
    except Exception:  # the answer is not of the form that its scorer expects
        return 0.0
    if math.isnan(scored) or scored <= _ATTEMPT:
        return 0.0
    return 1.0 if scored >= 1.0 else scored * (task in PARTIAL)


def _original(task: str, config: dict[str, Any], entry: dict[str, Any], answer: str) -> float:
    scorer = _SCORERS[task]
    if config:  # tolerances and ranges come from there
        # A copy, as the next answer in this process may come with other settings.
        scorer = copy.copy(scorer)
        scorer.config = dataclasses.replace(scorer.config, **config)
    return scorer.score_answer(answer, entry)


def _same_text(_task: str, _config: dict[str, Any], entry: dict[str, Any], answer: str) -> float:
    """Replaces game_of_life_halting's scorer, which accepts any text at all."""
    return float(answer.casefold() == entry["answer"].casefold())


def _same_probability(_task: str, _config: dict[str, Any], entry: dict[str, Any], answer: str) -> float:
    """Replaces coin_flip's scorer, which gives full marks to `0`, the first character of every gold."""
    # Golds are fractions or decimals; of exponents, `Fraction` would compute every digit.
    value, gold = (float(text if "e" in text.lower() else Fraction(text)) for text in (answer, entry["answer"]))
    return float(abs(value - gold) <= 1e-4)


def _antiderivative(_task: str, _config: dict[str, Any], entry: dict[str, Any], answer: str) -> float:
    """Replaces the integrations' scorers, which simplify for seconds what values at a few points decide."""
    # The derivative is compared, so the constant of integration does not matter.
    variable = entry["metadata"]["variable"]
    x = sympy.Symbol(variable)
    derivative = sympy.diff(sympy.parse_expr(answer, local_dict={variable: x, "C": sympy.Symbol("C")}), x)
    integrand = sympy.parse_expr(entry["metadata"]["integrand"], local_dict={variable: x})
    values = [[complex(side.subs(x, point).evalf()) for side in (derivative, integrand)] for point in _POINTS]
    return float(all(cmath.isclose(*pair, rel_tol=1e-9, abs_tol=1e-9) for pair in values))


# Above 0, where logarithms and roots are real, and so odd that no wrong answer agrees by chance.
_POINTS = tuple(sympy.Float(point, 30) for point in ("0.3719", "0.8347", "1.2963", "1.9158"))

_OWN: dict[str, Callable[..., float]] = {
    "game_of_life_halting": _same_text,
    "coin_flip": _same_probability,
    "simple_integration": _antiderivative,
    "intermediate_integration": _antiderivative,
}

for _name in ("countdown", "polynomial_multiplication", "puzzle24", "simple_integration", "intermediate_integration"):
    # Fills SymPy's caches before the first fork; every fork would have to fill them again.
    _score(_name, {}, _SCORERS[_name][0], "x + 1")
