"""A puzzle that is solved by following several possibilities at once, and what to think about it."""

import random
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

Step = dict[str, float]
"""Words that one thinking step mixes, and their weights, which sum to 1."""


class Puzzle(NamedTuple):
    """A question, its only correct answer, and all that can be reached on the way to it.

    Attributes:
        text: The question.
        answer: One word.
        frontiers: At each step the possibilities, as words; one that is reached in two ways stands there twice.
        path: At each step the possibility that leads to the answer; where several do, one of them.
    """

    text: str
    answer: str
    frontiers: tuple[tuple[str, ...], ...]
    path: tuple[str, ...]


def superposed(puzzle: Puzzle, _: random.Random) -> list[Step]:
    """Each step mixes its whole frontier; a possibility weighs what its share of the ways is (CoT2's CSFT)."""
    return [
        {word: number / len(frontier) for word, number in Counter(frontier).items()} for frontier in puzzle.frontiers
    ]


def single_path(puzzle: Puzzle, _: random.Random) -> list[Step]:
    """Each step is one token, on the path to the answer: as many steps as `superposed` takes."""
    return [{word: 1.0} for word in puzzle.path]


def breadth_first(puzzle: Puzzle, generator: random.Random) -> list[Step]:
    """Each step is one token, one frontier after the other, in random order within each."""
    words = [list(dict.fromkeys(frontier)) for frontier in puzzle.frontiers]
    return [{word: 1.0} for frontier in words for word in generator.sample(frontier, len(frontier))]


def pause(puzzle: Puzzle, _: random.Random) -> list[Step]:
    """Each step is the same meaningless token: as many steps as `superposed` takes."""
    return [{PAUSE: 1.0} for _ in puzzle.frontiers]


PAUSE = "."
"""The token of `pause`."""

WAYS: dict[str, Callable[[Puzzle, random.Random], list[Step]]] = {
    "superposed": superposed,
    "path": single_path,
    "breadth_first": breadth_first,
    "pause": pause,
}
"""Ways to think about a puzzle, by name."""
