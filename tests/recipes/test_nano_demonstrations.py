"""Careful demonstrations are correct, careless ones often wrong, and all are well-formed completions."""

import itertools
import random
from collections import Counter

import pytest

from mot_trl.rewards.format import soft_format
from mot_trl.tasks.nano.puzzles import TASKS, correct_answer, questions
from recipes.nano.demonstrations import CAREFUL, WAYS, demonstrate, demonstrations
from recipes.nano.model import puzzle_tokenizer

ITEMS = 200


def completions_of(name: str, skip: float, seed: int = 0) -> tuple[list[str], list[str]]:
    """Completions to a family's first questions, and the references."""
    generator = random.Random(seed)
    asked = list(itertools.islice(questions(name), ITEMS))
    completions = [demonstrate(name, question.text, skip=skip, generator=generator) for question in asked]
    return completions, [question.answer for question in asked]


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.slow
def test_accuracy_falls_with_carelessness(name: str) -> None:
    rights = [sum(correct_answer(*completions_of(name, skip))) / ITEMS for skip in (0.0, 0.5, 1.0)]

    assert rights[0] == 1
    assert rights[1] < 0.85
    assert rights[2] < 0.5
    assert 0.2 < sum(share * right for share, right in zip(WAYS.values(), rights, strict=True)) < 0.7


@pytest.mark.parametrize("name", TASKS)
def test_completions_are_short_and_closed(name: str) -> None:
    tokenizer = puzzle_tokenizer()
    for skip in WAYS:
        completions, _ = completions_of(name, skip)

        assert all(soft_format(completions))
        assert max(len(ids) for ids in tokenizer(completions)["input_ids"]) < 50


@pytest.mark.parametrize("name", TASKS)
def test_careful_demonstrations_vary(name: str) -> None:
    if name == "count":
        pytest.skip("spells in the order of the text")
    first, _ = completions_of(name, 0.0, seed=0)
    second, _ = completions_of(name, 0.0, seed=1)

    assert sum(a != b for a, b in zip(first, second, strict=True)) > ITEMS / 4


def test_families_take_turns_and_carelessness_has_its_shares() -> None:
    count = 300 * len(TASKS)
    shown = list(itertools.islice(demonstrations(pool=50), count))

    families = Counter(each.question.split()[0] for each in shown)
    guesses = sum("<think></think>" in each.completion for each in shown)

    assert set(families.values()) == {300}
    assert 45 * len(TASKS) < len({each.question for each in shown}) <= 50 * len(TASKS)
    assert 0.35 < guesses / count < 0.55


def test_demonstrations_are_reproducible() -> None:
    first, second = (list(itertools.islice(demonstrations(seed=1, ways=CAREFUL), 60)) for _ in range(2))

    assert first == second
    assert first != list(itertools.islice(demonstrations(seed=2, ways=CAREFUL), 60))
