"""Six families of small puzzles for the embedded model, in few tokens: four after Reasoning Gym, two of search.

    rows = load(size=600)                         # the families by turns; or load("reach"), load(["sum", "gcd"])
    held_out = load(size=120, split="test")
    GRPOTrainer(..., reward_funcs=[correct_answer], train_dataset=rows, eval_dataset=held_out)

A question belongs to one split by a hash of its characters in sorted order, so that no rearrangement of a question is
in the other split, whatever the seeds.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from mot_trl.rewards.answer import completion_text, final_answer
from mot_trl.tasks.reasoning_gym.dataset import split_of
from mot_trl.tasks.reasoning_gym.generator import GENERATOR

if TYPE_CHECKING:
    from datasets import Dataset

Split = Literal["train", "test"]

NODES = "abcdefghijkl"
GOALS = 4
LARGEST_TERM = 20
LONGEST_TEXT = 18

_PLAIN = re.compile("[a-z ]+")
_BATCH = 64
_MAX_MISSES = 2_000


class Question(NamedTuple):
    """What is asked, and the one right answer to it."""

    text: str
    answer: str


Family = Callable[[int], Iterator[Question]]
"""Questions without end, by seed."""


def sums(seed: int) -> Iterator[Question]:
    """`sum +4 -1 +7 +7`: four or five terms of one digit; the sum is not negative."""
    for entry in _reasoning_gym("chain_sum", seed, min_terms=4, max_terms=5, min_digits=1, max_digits=1):
        if int(entry["answer"]) >= 0:
            terms = entry["metadata"]["expression"].replace("+ ", "+").replace("- ", "-")
            yield Question(f"sum +{terms}", entry["answer"])


def divisors(seed: int) -> Iterator[Question]:
    """`gcd 27 18`: the greatest common divisor of two numbers up to 40."""
    for entry in _reasoning_gym("gcd", seed, min_numbers=2, max_numbers=2, min_value=2, max_value=40):
        first, second = entry["metadata"]["numbers"]
        yield Question(f"gcd {first} {second}", entry["answer"])


def letters(seed: int) -> Iterator[Question]:
    """`count e: seven big geese`: how often a letter comes in some words; once, twice and thrice by turns."""
    wanted = cycle("123")
    answer = next(wanted)
    for entry in _reasoning_gym("letter_counting", seed, min_words=2, max_words=3):
        text, letter = " ".join(entry["metadata"]["span"]).lower(), entry["metadata"]["target_letter"].lower()
        if str(text.count(letter)) == answer and len(text) <= LONGEST_TEXT and _PLAIN.fullmatch(text):
            yield Question(f"count {letter}: {text}", answer)
            answer = next(wanted)


def sorting(seed: int) -> Iterator[Question]:
    """`sort 23 2 13 29`: four or five numbers up to 30, all different, in ascending order."""
    config = {"min_numbers": 4, "max_numbers": 5, "min_value": 1, "max_value": 30, "max_decimals": 0}
    for entry in _reasoning_gym("number_sorting", seed, **config):
        numbers = [int(float(number)) for number in entry["metadata"]["original_numbers"]]
        if len(set(numbers)) == len(numbers):
            yield Question(f"sort {_spaced(numbers)}", _spaced(sorted(numbers)))


def reachability(seed: int) -> Iterator[Question]:
    """`reach a to b c d e: fg ah ...`: which of four goals can be reached from a node along the directed edges."""
    generator = random.Random(f"reach {seed}")
    while True:
        start, *nodes = generator.sample(NODES, 6 + GOALS)
        near, far, goals = [start, *nodes[:3]], nodes[3:5], nodes[5:]
        # A tree from the start, with one goal below it; and a part that leads to the other goals, and not from here.
        edges = [(generator.choice(near[:place]), near[place]) for place in range(1, len(near))]
        edges += [(generator.choice(near[1:]), goals[0]), (far[0], far[1]), (generator.choice(far), near[1])]
        edges += [(generator.choice(far), goal) for goal in goals[1:]]
        answer = goals[0]
        generator.shuffle(edges)
        generator.shuffle(goals)
        yield Question(f"reach {start} to {_spaced(goals)}: {_spaced(map(''.join, edges))}", answer)


def signed_sums(seed: int) -> Iterator[Question]:
    """`signed 5 12 9`: the smallest sum above -1, each number with + or - (CoT2, arXiv 2505.23648)."""
    generator = random.Random(f"signed {seed}")
    while True:
        first, second, third = (generator.randint(1, LARGEST_TERM) for _ in range(3))
        totals = {abs(first + sign * second) for sign in (1, -1)}
        yield Question(f"signed {first} {second} {third}", str(min(abs(total - third) for total in totals)))


TASKS: dict[str, Family] = {
    "sum": sums,
    "gcd": divisors,
    "count": letters,
    "sort": sorting,
    "reach": reachability,
    "signed": signed_sums,
}


def load(
    tasks: str | Sequence[str] | None = None, *, size: int = 600, seed: int = 0, split: Split = "train"
) -> Dataset:
    """Rows with `prompt` (one user message), `answer` (text) and `task`, the families by turns; no question twice.

    Args:
        tasks: A family's name or several; by default all of `TASKS`.
        size: Rows in all.
        seed: Of the questions; the splits of one seed and of different ones are disjoint.
        split: "train", or "test" for one question in eight.

    Raises:
        ValueError: A family is unknown or comes twice, there is none, `size` is below 1 or more than there are
            questions, or `split` is neither.
        ImportError: A family needs reasoning-gym, which is not installed.
    """
    import datasets

    if size < 1:
        raise ValueError(f"`size` is {size}; give the number of rows, above 0.")
    names = _names(tasks)
    sources = [_distinct(name, questions(name, seed=seed, split=split)) for name in names]
    rows = [row(names[index % len(names)], next(sources[index % len(names)])) for index in range(size)]
    return datasets.Dataset.from_list(rows)


def correct_answer(completions: list, answer: list[str], **_: Any) -> list[float]:
    """1 where the text between `<answer>` and `</answer>` equals the gold, else 0."""
    found = [final_answer(completion_text(completion)) for completion in completions]
    return [float(text == gold) for text, gold in zip(found, answer, strict=True)]


def questions(name: str, *, seed: int = 0, split: Split = "train") -> Iterator[Question]:
    """A family's questions that belong to a split, without end: in time, some come again."""
    if split not in ("train", "test"):
        raise ValueError(f"Unknown split {split!r}; choose 'train' or 'test'.")
    return (each for each in TASKS[name](seed) if split_of("".join(sorted(each.text))) == split)


def row(name: str, question: Question) -> dict[str, Any]:
    """A question as `load` gives it."""
    return {"prompt": [{"role": "user", "content": question.text}], "answer": question.answer, "task": name}


def _names(tasks: str | Sequence[str] | None) -> list[str]:
    names = list(TASKS) if tasks is None else [tasks] if isinstance(tasks, str) else list(tasks)
    if unknown := sorted(set(names) - set(TASKS)):
        raise ValueError(f"Unknown tasks {unknown}; choose among {list(TASKS)}.")
    if not names or len(set(names)) < len(names):
        raise ValueError(f"`tasks` needs names of families, each once, not {names}; leave it out for all of them.")
    return names


def _distinct(name: str, source: Iterator[Question]) -> Iterator[Question]:
    seen: set[str] = set()
    while True:
        fresh = next((each for each in islice(source, _MAX_MISSES) if each.text not in seen), None)
        if fresh is None:
            raise ValueError(f"The family {name!r} has hardly more than {len(seen)} questions; ask for fewer rows.")
        seen.add(fresh.text)
        yield fresh


def _reasoning_gym(task: str, seed: int, **config: int) -> Iterator[dict[str, Any]]:
    """Entries of one of Reasoning Gym's data sets, in its own order."""
    start = 0
    while True:
        items = GENERATOR.items(task, config, seed=seed, indices=range(start, start + _BATCH))
        yield from (item.entry for item in items)
        start += _BATCH


def _spaced(parts: Any) -> str:
    return " ".join(map(str, parts))
