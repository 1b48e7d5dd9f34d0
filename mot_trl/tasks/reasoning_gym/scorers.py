"""Score answers: which verifier judges which dataset. The sandbox imports this file before it sees any answer."""

import cmath
import copy
import dataclasses
import math
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any

import sympy
from reasoning_gym.factory import DATASETS, create_dataset

from mot_trl.tasks.reasoning_gym import logic, matches, puzzles, simulations

Entry = dict[str, Any]
_Verifier = Callable[[str, Entry, Entry], float]

# Five datasets take 0.1 to 0.4 s to set up, so all are ready before processes are forked.
_SCORERS = {task: create_dataset(task, seed=0, size=1) for task in DATASETS if task != "composite"}

PARTIAL = frozenset((
    # A solution that is valid but not the best, or right but in another form:
    "binary_matrix", "knight_swap", "n_queens", "propositional_logic", "quantum_lock", "shortest_path",
    "spiral_matrix", "string_insertion", "tower_of_hanoi",
    # Parts of a solution, beyond those that a trivial answer has:
    "boxnet", "futoshiki", "mini_sudoku", "sudoku", "word_sorting",
))  # fmt: skip
"""Datasets whose partial credit counts. Others give it to answers that merely contain the gold, or come near it."""

# What scorers give to any answer at all.
_ATTEMPT = 0.05


def score_all(rows: list[tuple[str, dict[str, Any], dict[str, Any], str]]) -> list[float]:
    """The scores in [0, 1] of several answers, each with its dataset, the dataset's settings and the entry."""
    return [_score(*row) for row in rows]


def _score(task: str, config: dict[str, Any], entry: dict[str, Any], answer: str) -> float:
    try:
        if task in _OWN:
            scored = float(_OWN[task](answer, entry, config))
        elif task in UPSTREAM:
            scored = _upstream(task, config, entry, answer)
        else:
            scored = float(matches.same(answer, str(entry["answer"]), fold=task in FOLDED))
    except Exception:  # the answer is not of the form that its scorer expects
        return 0.0
    if math.isnan(scored) or scored <= _ATTEMPT:
        return 0.0
    return 1.0 if scored >= 1.0 else scored * (task in PARTIAL)


def _upstream(task: str, config: dict[str, Any], entry: dict[str, Any], answer: str) -> float:
    scorer = _SCORERS[task]
    if config:  # tolerances and ranges come from there
        # A copy, as the next answer in this process may come with other settings.
        scorer = copy.copy(scorer)
        scorer.config = dataclasses.replace(scorer.config, **config)
    return scorer.score_answer(answer, entry)


def _antiderivative(answer: str, entry: Entry, _config: Entry) -> float:
    """Replaces the integrations' scorers, which simplify for seconds what values at a few points decide."""
    # The derivative is compared, so the constant of integration does not matter.
    variable = entry["metadata"]["variable"]
    x = sympy.Symbol(variable)
    found = sympy.parse_expr(answer, local_dict={variable: x, "C": sympy.Symbol("C")})
    # Any other symbol would be a constant, too: also `x` where the variable is `X`, with a whole answer in it.
    if not found.free_symbols <= {x, *sympy.symbols("C c K k")}:
        return 0.0
    derivative = sympy.diff(found, x)
    integrand = sympy.parse_expr(entry["metadata"]["integrand"], local_dict={variable: x})
    values = [[complex(side.subs(x, point).evalf()) for side in (derivative, integrand)] for point in _POINTS]
    return float(all(cmath.isclose(*pair, rel_tol=1e-9, abs_tol=1e-9) for pair in values))


# Above 0, where logarithms and roots are real, and so odd that no wrong answer agrees by chance.
_POINTS = tuple(sympy.Float(point, 30) for point in ("0.3719", "0.8347", "1.2963", "1.9158"))

# The grammar limits these answers to the forms that upstream's scorers read aright.
UPSTREAM = frozenset((
    "bitwise_arithmetic", "complex_arithmetic", "knight_swap", "palindrome_generation", "polynomial_multiplication",
    "power_function", "rubiks_cube", "shortest_path", "word_ladder",
))  # fmt: skip
"""Datasets that Reasoning Gym's own scorers judge: by the row's data, so that several answers may be right."""

FOLDED = frozenset((
    "acre", "calendar_arithmetic", "color_cube_rotation", "course_schedule", "dice", "family_relationships",
    "game_of_life_halting", "isomorphic_strings", "letter_jumble", "mahjong_puzzle", "needle_haystack", "ransom_note",
    "sentence_reordering", "spell_backward", "syllogism", "tsumego", "zebra_puzzles",
))  # fmt: skip
"""Datasets whose answers are the gold in any letter case."""


def _geometry(answer: str, entry: Entry, _config: Entry) -> bool:
    tolerance = {"angle_measure": "0.01"}.get(entry["metadata"]["task_type"], "0.001")
    return matches.all_close(answer, entry["answer"], tolerance)


def _in_another_form(between: str) -> _Verifier:
    """Full marks for the gold, a tenth for it as a list."""

    def verify(answer: str, entry: Entry, _config: Entry) -> float:
        if matches.same(answer, entry["answer"]):
            return 1.0
        return 0.1 * (matches.listed_text(answer, between) == entry["answer"].strip())

    return verify


def _by_rules(check: Callable[[str, Entry], float]) -> _Verifier:
    return lambda answer, entry, _config: check(answer, entry["metadata"])


def _by_gold(check: Callable[[str, str], float]) -> _Verifier:
    return lambda answer, entry, _config: check(answer, entry["answer"])


_OWN: dict[str, _Verifier] = {
    "advanced_geometry": _geometry,
    "binary_matrix": _in_another_form(" "),
    "boxnet": _by_rules(simulations.boxnet),
    "codeio": _by_gold(puzzles.codeio),
    "coin_flip": _by_gold(matches.same_probability),
    "countdown": lambda answer, entry, _: puzzles.reaches(
        answer, entry["metadata"]["numbers"], entry["metadata"]["target"]
    ),
    "cryptarithm": _by_rules(puzzles.cryptarithm),
    "decimal_arithmetic": lambda answer, entry, config: matches.close(
        answer, entry["answer"], Decimal(10) ** -config.get("max_num_decimal_places", 3)
    ),
    "figlet_font": lambda answer, entry, _: matches.same("".join(answer.split()), entry["answer"], fold=True),
    "fraction_simplification": lambda answer, entry, _: matches.same_fraction(
        answer, entry["metadata"]["simplified_numerator"], entry["metadata"]["simplified_denominator"]
    ),
    "futoshiki": _by_rules(puzzles.latin),
    "graph_color": _by_rules(puzzles.graph_color),
    "group_anagrams": _by_rules(partial(puzzles.same_groups, ordered=False)),
    "intermediate_integration": _antiderivative,
    "jugs": _by_rules(simulations.jugs),
    "kakurasu": _by_rules(puzzles.kakurasu),
    "knights_knaves": _by_gold(puzzles.knights_knaves),
    "mini_sudoku": _by_rules(partial(puzzles.latin, box=2)),
    "n_queens": _by_rules(puzzles.n_queens),
    "number_format": _by_rules(puzzles.number_format),
    "palindrome_partitioning": _by_rules(partial(puzzles.same_groups, ordered=True)),
    "polynomial_equations": _by_gold(matches.same_roots),
    "pool_matrix": _by_gold(partial(matches.same_board, tolerance="0.01")),
    "propositional_logic": lambda answer, entry, _: logic.conclusion(
        answer, entry["metadata"]["premises"], entry["metadata"]["variables"]
    ),
    "prime_factorization": lambda answer, entry, _: matches.same_factors(answer, entry["metadata"]["factors"]),
    "puzzle24": lambda answer, entry, _: puzzles.reaches(answer, entry["metadata"]["numbers"], 24),
    "quantum_lock": _by_rules(simulations.quantum_lock),
    "rush_hour": _by_rules(simulations.rush_hour),
    "simple_integration": _antiderivative,
    "sokoban": _by_rules(simulations.sokoban),
    "spiral_matrix": _in_another_form(" "),
    "string_insertion": _in_another_form(""),
    "sudoku": _by_rules(partial(puzzles.latin, box=3)),
    "survo": _by_rules(puzzles.survo),
    "time_intervals": _by_gold(matches.same_duration),
    "tower_of_hanoi": _by_rules(simulations.tower_of_hanoi),
    "word_sorting": _by_rules(puzzles.word_sorting),
}

for _name in ("polynomial_multiplication", "simple_integration", "intermediate_integration"):
    # Fills SymPy's caches before the first fork; every fork would have to fill them again.
    _score(_name, {}, _SCORERS[_name][0], "x + 1")
