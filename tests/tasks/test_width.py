"""Puzzles of width: frontiers, paths and answers are right, and no guess pays."""

import itertools
import random
from collections import Counter

import pytest

from mot_trl.tasks import width
from mot_trl.tasks.nano.model import load_nano
from mot_trl.tasks.width.puzzle import WAYS, Puzzle

HARDER = [
    ("reach", {"depth": 2, "branching": 4, "goals": 3}),
    ("reach", {"depth": 4, "branching": 1, "goals": 2}),
    ("least", {"numbers": 5, "largest": 12}),
    ("graph", {"depth": 4, "width": 3, "parents": 1}),
    *((name, {}) for name in width.TASKS),
]


def puzzles_of(name: str, difficulty: dict[str, int]) -> list[Puzzle]:
    return list(itertools.islice(width.puzzles(name, difficulty=difficulty), 40))


def children(puzzle: Puzzle) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for source, target in puzzle.text.split(": ")[1].split():
        found.setdefault(source, set()).add(target)
    return found


def signed(numbers: list[int]) -> Counter[int]:
    """Absolute sums of the numbers, the sign of the first of which is plus."""
    return Counter(
        abs(numbers[0] + sum(sign * number for sign, number in zip(signs, numbers[1:], strict=True)))
        for signs in itertools.product((1, -1), repeat=len(numbers) - 1)
    )


@pytest.mark.parametrize(("name", "difficulty"), HARDER)
def test_frontiers_and_answers_are_those_found_by_other_means(name: str, difficulty: dict[str, int]) -> None:
    for puzzle in puzzles_of(name, difficulty):
        family, *words = puzzle.text.split(":")[0].split()
        assert family == name
        if name == "least":
            numbers = [int(word) for word in words]
            found = [Counter(map(int, frontier)) for frontier in puzzle.frontiers]
            assert found == [signed(numbers[:end]) for end in range(2, len(numbers) + 1)]
            assert int(puzzle.answer) == min(signed(numbers))
            continue
        start, _, *goals = words
        frontier, edges = {start}, children(puzzle)
        for step in puzzle.frontiers:
            frontier = set().union(*(edges.get(node, set()) for node in frontier))
            assert sorted(step) == sorted(frontier)
        assert frontier & set(goals) == {puzzle.answer}


@pytest.mark.parametrize(("name", "difficulty"), HARDER)
def test_a_path_walks_through_the_frontiers_to_the_answer(name: str, difficulty: dict[str, int]) -> None:
    for puzzle in puzzles_of(name, difficulty):
        assert len(puzzle.path) == len(puzzle.frontiers)
        assert all(node in frontier for node, frontier in zip(puzzle.path, puzzle.frontiers, strict=True))
        assert puzzle.path[-1] == puzzle.answer
        words = puzzle.text.split()
        if name == "least":
            numbers = [int(word) for word in words[1:]]
            for before, number, after in zip([words[1], *puzzle.path], numbers[1:], puzzle.path, strict=False):
                assert int(after) in (int(before) + number, abs(int(before) - number))
        else:
            assert all(b in children(puzzle)[a] for a, b in itertools.pairwise([words[1], *puzzle.path]))


@pytest.mark.parametrize("name", width.TASKS)
def test_frontiers_of_the_default_difficulty_are_wide_and_as_many_as_stated(name: str) -> None:
    for puzzle in puzzles_of(name, {}):
        assert len(puzzle.frontiers) == width.TASKS[name].steps
        assert max(map(len, puzzle.frontiers)) >= 4


@pytest.mark.parametrize(("name", "chance"), [("reach", 0.25), ("least", 1 / 3), ("graph", 0.5)])
def test_no_constant_and_no_place_earns_more_than_chance(name: str, chance: float) -> None:
    rows = width.load(name, size=200, split="test").to_list()
    questions = [row["prompt"][0]["content"].split(":")[0].split() for row in rows]
    counts = Counter(row["answer"] for row in rows)
    guesses = {"constant": [counts.most_common(1)[0][0]] * len(rows), "last": [words[-1] for words in questions]}
    if name == "least":
        assert max(counts.values()) - min(counts.values()) <= 1
    else:
        guesses |= {"first": [words[3] for words in questions], "start": [words[1] for words in questions]}

    for guess in guesses.values():
        texts = [f"</think><answer>{word}</answer>" for word in guess]
        assert sum(width.correct_answer(texts, [row["answer"] for row in rows])) / len(rows) < chance + 0.1


def test_ways_to_think_are_about_the_same_frontiers() -> None:
    puzzle = Puzzle("least 1 1 1", "1", (("0", "2"), ("1", "1", "1", "3")), ("0", "1"))
    thoughts = {name: way(puzzle, random.Random(0)) for name, way in WAYS.items()}

    assert thoughts["superposed"] == [{"0": 0.5, "2": 0.5}, {"1": 0.75, "3": 0.25}]
    assert thoughts["path"] == [{"0": 1.0}, {"1": 1.0}]
    first, second, third, fourth = ([*step] for step in thoughts["breadth_first"])
    assert sorted(first + second) == ["0", "2"]
    assert sorted(third + fourth) == ["1", "3"]
    assert thoughts["pause"] == [{".": 1.0}] * 2


@pytest.mark.parametrize("way", WAYS)
def test_demonstrations_name_single_tokens_and_the_answer(way: str) -> None:
    _, tokenizer = load_nano()
    rows = width.demonstrations(tokenizer, way, "reach", size=3)

    assert rows.column_names == ["prompt", "completion", "thought_ids", "thought_weights"]
    for row in rows:
        goals = row["prompt"][0]["content"].split(":")[0].split()[3:]
        last = [tokenizer.decode(ids).strip() for ids in row["thought_ids"][-1]]
        assert row["completion"][0]["content"] in [f"</think><answer>{goal}</answer>" for goal in goals]
        assert last == ["."] if way == "pause" else f"<answer>{last[0]}<" in row["completion"][0]["content"]
        assert all(sum(weights) == pytest.approx(1) for weights in row["thought_weights"])


def test_splits_share_no_question_and_rows_take_turns() -> None:
    train, test = (width.load(size=120, split=split) for split in ("train", "test"))
    texts = [{tuple(sorted(row["prompt"][0]["content"])) for row in rows} for rows in (train, test)]

    assert not texts[0] & texts[1]
    assert test["task"][:3] == list(width.TASKS)
    assert len({row["prompt"][0]["content"] for row in test}) == 120
    assert width.load(size=9, seed=3).to_list() == width.load(size=9, seed=3).to_list()


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (["tree"], {}, r"Unknown tasks \['tree'\]; choose among \['reach'"),
        ([[]], {}, "each once"),
        (["reach"], {"size": 0}, "above 0"),
        (["reach"], {"split": "dev"}, "choose 'train' or 'test'"),
        (["reach"], {"difficulty": {"height": 3}}, "'height'"),
        (["reach"], {"difficulty": {"depth": 1}}, "a depth from 2"),
        (["reach"], {"difficulty": {"depth": 5}}, "there are 26"),
        (["reach"], {"difficulty": {"goals": 6}}, "branching"),
        (["least"], {"difficulty": {"numbers": 1}}, "at least 2 numbers"),
        (["least"], {"difficulty": {"largest": 30}}, "stays below 100"),
        (["graph"], {"difficulty": {"width": 0}}, "too small"),
        (["graph"], {"difficulty": {"depth": 9}}, "there are 26"),
        ([None], {"difficulty": {"depth": 2}}, "a single family's"),
    ],
)
def test_bad_input_is_named(arguments: list, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        width.load(*arguments, **options)


def test_a_family_that_runs_out_says_so() -> None:
    with pytest.raises(ValueError, match="ask for fewer rows"):
        width.load("least", size=200, difficulty={"numbers": 2, "largest": 5})


def test_a_tokenizer_that_splits_words_is_refused() -> None:
    _, tokenizer = load_nano()

    with pytest.raises(ValueError, match="must be one token"):
        width.loading.token_id(tokenizer, "abc")
    with pytest.raises(ValueError, match="choose among"):
        width.demonstrations(tokenizer, "depth_first")
