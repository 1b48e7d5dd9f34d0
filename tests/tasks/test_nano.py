"""Nano's puzzles have one right answer, and the splits share none of them."""

import itertools
import subprocess
import sys

import pytest

from mot_trl.tasks import nano
from mot_trl.tasks.nano.puzzles import TASKS, correct_answer, load, questions

ROWS = 60


def rows_of(name: str, split: nano.Split = "train", seed: int = 0) -> list[nano.Question]:
    return list(itertools.islice(questions(name, seed=seed, split=split), ROWS))


def solve(name: str, words: list[str]) -> str:
    """The answer, found by other means than the generator's."""
    if name == "sum":
        return str(eval("".join(words)))
    if name == "gcd":
        first, second = map(int, words)
        return str(max(d for d in range(1, first + 1) if first % d == second % d == 0))
    if name == "count":
        return str(sum(word.count(words[0][0]) for word in words[1:]))
    if name == "sort":
        return " ".join(sorted(words, key=int))
    if name == "signed":
        signs = itertools.product((1, -1), repeat=3)
        totals = [sum(sign * int(word) for sign, word in zip(each, words, strict=True)) for each in signs]
        return str(min(total for total in totals if total >= 0))
    goals, edges = [word.rstrip(":") for word in words[2:6]], words[6:]
    reached = {words[0]}
    for _ in edges:
        reached |= {edge[1] for edge in edges if edge[0] in reached}
    (goal,) = reached & set(goals)
    return goal


@pytest.mark.parametrize("name", TASKS)
def test_answers_are_right(name: str) -> None:
    for question in rows_of(name):
        family, *words = question.text.split()

        assert family == name
        assert question.answer == solve(name, words)


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.slow
def test_no_arrangement_of_a_test_question_is_trained_on(name: str) -> None:
    trained = {tuple(sorted(question.text)) for seed in range(3) for question in rows_of(name, "train", seed)}
    held_out = {tuple(sorted(question.text)) for seed in range(3) for question in rows_of(name, "test", seed)}

    assert trained
    assert held_out
    assert not trained & held_out


def test_rows_take_turns_and_none_comes_twice() -> None:
    rows = load(size=90, split="test")

    assert rows.column_names == ["prompt", "answer", "task"]
    assert rows["task"][: len(TASKS)] == list(TASKS)
    assert [message["role"] for message in rows[0]["prompt"]] == ["user"]
    assert len({row["prompt"][0]["content"] for row in rows}) == 90


@pytest.mark.slow
def test_the_same_seed_gives_the_same_rows_in_every_process() -> None:
    program = "from mot_trl.tasks.nano import load; print(load(size=24, seed=3).to_list())"

    printed = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]

    assert printed[0] == printed[1]
    assert load("reach", size=4, seed=3).to_list() != load("reach", size=4, seed=4).to_list()


def test_only_the_whole_gold_in_its_tags_is_correct() -> None:
    texts = [
        "<think> 3</think><answer>12</answer>",
        "<think></think><answer>1</answer>",
        "12",
        "<think><answer>12</answer>",
    ]
    completions = [[{"role": "assistant", "content": text}] for text in texts]

    assert correct_answer(completions, ["12"] * 4) == [1.0, 0.0, 0.0, 0.0]
    assert correct_answer(texts, ["12"] * 4) == [1.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (["sums"], {}, r"Unknown tasks \['sums'\]; choose among \['sum', 'gcd'"),
        ([[]], {}, "each once"),
        ([["gcd", "gcd"]], {}, "each once"),
        (["reach"], {"size": 0}, "above 0"),
        (["reach"], {"split": "dev"}, "choose 'train' or 'test'"),
        (["gcd"], {"size": 2_000}, "ask for fewer rows"),
    ],
)
def test_bad_input_is_named(arguments: list, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(*arguments, **options)


def test_only_families_of_reasoning_gym_need_it() -> None:
    program = """
import sys
sys.modules["reasoning_gym"] = None
from mot_trl.tasks.nano.puzzles import load
assert len(load(["reach", "signed"], size=4)) == 4
"""
    subprocess.run([sys.executable, "-c", program], check=True)
