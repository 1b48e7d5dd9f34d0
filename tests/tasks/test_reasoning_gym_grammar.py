import time

import pytest

from benchmarks.reasoning_gym import HOSTILE, MARK
from mot_trl.tasks.reasoning_gym.answer_grammar import EXECUTED, is_admissible

CODE = [name for name, answer in HOSTILE.items() if "import" in answer or "open(" in answer or "class" in answer]


@pytest.mark.parametrize("task", sorted(EXECUTED))
@pytest.mark.parametrize("name", CODE)
def test_no_scorer_that_runs_answers_sees_code(task, name):
    assert MARK in HOSTILE[name] or "__" in HOSTILE[name]
    assert not is_admissible(task, HOSTILE[name], "")


@pytest.mark.parametrize(
    ("task", "answer"),
    [
        ("countdown", "(61 - 5) * 6 + 20 / -4"),
        ("puzzle24", "8 / (3 - 8 / 3)"),
        ("polynomial_multiplication", "64*x**3 + 9*x**2 - 2*x - 1"),
        ("simple_integration", "-5*X**3/6 + 3*X + C"),
        ("intermediate_integration", "x**2*exp(2*x)/2 - sin(x)*cos(x)**3 + sqrt(x) + 2**x + C"),
        ("binary_matrix", "0 1\n1 0"),
        ("binary_matrix", "[[0, 1], [1, 0]]"),
        ("spiral_matrix", "[1, -2, 3.5]"),
        ("string_insertion", "['A', 'B']"),
        ("n_queens", "_ _ Q _\nQ _ _ _"),
        ("gcd", "anything (at all)"),
    ],
)
def test_honest_answers_pass(task, answer):
    assert is_admissible(task, answer, "")


@pytest.mark.parametrize(
    ("task", "answer"),
    [
        ("countdown", "9**9"),
        ("countdown", "x + 1"),
        ("countdown", "3.5 + 1"),
        ("countdown", "1" * 13),
        ("countdown", "(5)(4)"),
        ("puzzle24", "4!"),
        ("puzzle24", "24 if 1 else 0"),
        ("simple_integration", "x**9**9"),
        ("simple_integration", "x**99"),
        ("simple_integration", "(((x**9)**9)**9)**9"),
        ("simple_integration", "Integral(x)"),
        ("simple_integration", "sin(x, y)"),
        ("simple_integration", "sin(x=1)"),
        ("simple_integration", "x.evalf"),
        ("simple_integration", "x[0]"),
        ("simple_integration", "'x'"),
        ("simple_integration", "exec"),
        ("polynomial_multiplication", "x; y"),
        ("polynomial_multiplication", "lambda: x"),
        ("spiral_matrix", "[1] * 99"),
        ("spiral_matrix", "[f'{1}']"),
        ("spiral_matrix", "[*[1]]"),
        ("spiral_matrix", "(1, 2)"),
        ("n_queens", "{1: 2}"),
        ("string_insertion", "A-B"),
        ("string_insertion", "os.system"),
        ("string_insertion", "__import__"),
        ("string_insertion", "['A'] # B"),
        ("simple_integration", "(x # \n + 1)"),
        ("simple_integration", "x + \\\n1"),
        ("simple_integration", "-" * 4_000 + "x"),
        ("simple_integration", "x**" * 1_300 + "x"),
        ("simple_integration", "x+" * 2_000 + "x"),
        ("polynomial_multiplication", "x if x else " * 300 + "x"),
        ("quantum_lock", "A, B and C"),
        ("complex_arithmetic", "NaN"),
        ("gcd", "\u0663"),
        ("gcd", ""),
        ("gcd", "9" * 5_000),
    ],
)
def test_what_could_run_or_grow_does_not_pass(task, answer):
    assert not is_admissible(task, answer, "")


def test_the_gold_may_be_long_and_have_digits_of_its_own():
    gold = "\u00b2" + "x" * 3_000

    assert is_admissible("gcd", gold + "x" * 8_000, gold)
    assert not is_admissible("gcd", gold + "x" * 10_000, gold)


def test_a_megabyte_is_judged_at_once():
    start = time.process_time()

    for task in EXECUTED:
        for answer in HOSTILE.values():
            is_admissible(task, answer, "")

    assert time.process_time() - start < 2
