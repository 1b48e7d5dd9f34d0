import re
from pathlib import Path

import pytest

from benchmarks.reasoning_gym_floors import (
    CONSTANTS,
    NATURE,
    Row,
    copied,
    junk,
    known_answer,
    shown,
)
from mot_trl.tasks import reasoning_gym
from mot_trl.tasks.reasoning_gym.rewards import score
from mot_trl.tasks.reasoning_gym.suites import TAMED

PAGE = Path(__file__).parents[2] / "docs" / "reasoning_gym.md"
# Two right sequences may be a longer right one, and what is pooled by ones stays as it is.
CHAINS = {"quantum_lock", "pool_matrix"}
QUICK = ["advanced_geometry", "arc_1d", "calendar_arithmetic", "chain_sum", "codeio", "cryptarithm", "game_of_life",
         "gsm_symbolic", "knights_knaves", "mini_sudoku", "number_filtering", "palindrome_partitioning", "pool_matrix",
         "prime_factorization", "puzzle24", "sokoban", "spell_backward", "survo", "tower_of_hanoi",
         "word_sorting"]  # fmt: skip


def floors():
    """The floor of each dataset, as the page lists it."""
    section = PAGE.read_text().partition("## Floors")[2]
    return {name: float(floor) for name, floor in re.findall(r"(?m)^\| (\w+) \| \d+ \| ([\d.]+) \|", section)}


def items(task, indices):
    return reasoning_gym.GENERATOR.items(task, TAMED.get(task, {}), seed=77, indices=indices)


def check_junk(tasks):
    """What holds the gold among other text earns nothing, and the gold itself all."""
    for task in tasks:
        item, *_ = made = items(task, range(2))
        entry = reasoning_gym.row(task, item)["entry"]
        row, other = (Row(task, item.config, item.entry, str(item.entry["answer"] or "").strip()) for item in made)
        gold = known_answer(row)
        answers = [*junk(row, known_answer(other)), *copied(row), *CONSTANTS[::40]]
        completions = [f"<answer>{answer}</answer>" for answer in [*answers, gold]]

        *earned, right = score(completions, task=[task] * len(completions), entry=[entry] * len(completions))

        paid = {answer: value for answer, value in zip(answers, earned, strict=True) if value}
        assert right == 1.0 or task == "propositional_logic" or not gold, task
        assert all(is_right(task, answer, row) for answer in paid), (task, paid)


def is_right(task, answer, row):
    """Whether an answer that was paid is the gold itself, written otherwise."""
    texts = [re.sub(r"[\s'\"]", "", text).casefold() for text in (answer, row.gold)]
    return task in CHAINS or texts[0] == texts[1]


def test_junk_around_the_gold_earns_nothing():
    check_junk(QUICK)


def test_the_page_lists_all_floors_and_the_reasons_of_high_ones():
    listed = floors()

    assert sorted(listed) == reasoning_gym.names()
    assert {name for name, floor in listed.items() if floor > 0.15} <= {*NATURE}


def stated_constants():
    """The best constant of each dataset, as the page shows it."""
    section = PAGE.read_text().partition("## Floors")[2]
    return dict(re.findall(r"(?m)^\| (\w+) \| \d+ \| [\d.]+ \| [\d.]+ \| (`.*?`|) \|", section))


@pytest.mark.slow
def test_nothing_that_ignores_its_row_earns_more_than_the_floor_in_any_dataset():
    stated, constants = floors(), stated_constants()
    # Of so few rows, two may have one answer by chance.
    count, chance = 5, 2 / 5
    too_much = {}
    for task in reasoning_gym.names():
        made = items(task, range(count))
        rows = [Row(task, item.config, item.entry, str(item.entry["answer"] or "").strip()) for item in made]
        golds = [known_answer(row) for row in rows]
        best = [text for text in CONSTANTS if shown(text) == constants[task]]
        ignorant = [text for text in dict.fromkeys([*golds, *best]) if text]
        hedges = [*junk(rows[0], golds[1]), *copied(rows[0])]
        pairs = [(number, answer) for answer in ignorant for number in range(count)]
        pairs += [(0, answer) for answer in hedges]

        entries = [reasoning_gym.row(task, item)["entry"] for item in made]
        earned = score(
            [f"<answer>{answer}</answer>" for _, answer in pairs],
            task=[task] * len(pairs),
            entry=[entries[number] for number, _ in pairs],
        )

        for answer, start in zip(ignorant, range(0, len(pairs), count), strict=False):
            if sum(earned[start : start + count]) / count > stated[task] + chance:
                too_much[task, answer] = earned[start : start + count]
        paid = [answer for answer, value in zip(hedges, earned[len(ignorant) * count :], strict=True) if value]
        too_much |= {(task, answer): "a hedge" for answer in paid if not is_right(task, answer, rows[0])}

    assert too_much == {}


def check_floor(task):
    """No constant earns more than the page says, but for what so few rows may have in common by chance."""
    found = [reasoning_gym.row(task, item) for item in items(task, range(8))]
    pairs = [(row, constant) for constant in CONSTANTS for row in found]

    earned = score(
        [f"<answer>{constant}</answer>" for _, constant in pairs],
        task=[task] * len(pairs),
        entry=[row["entry"] for row, _ in pairs],
    )

    means = [sum(earned[start : start + 8]) / 8 for start in range(0, len(pairs), 8)]
    assert max(means) <= floors()[task] + 2 / 8, (task, CONSTANTS[means.index(max(means))])


@pytest.mark.parametrize("task", ["puzzle24", "rush_hour"])
def test_no_constant_earns_more_than_the_floor(task):
    check_floor(task)
