"""Puzzles for the embedded model: six families with short questions, four from Reasoning Gym and two search tasks.

    rows = load(size=600)                         # all families in turn; or load("reach"), load(["sum", "gcd"])
    held_out = load(size=120, split="test")
    GRPOTrainer(..., reward_funcs=[correct_answer], train_dataset=rows, eval_dataset=held_out)

A hash of a question's sorted characters decides its split, so a test question is never a rearrangement of a training
question, whatever the seeds.
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

_BATCH = 512
_MAX_MISSES = 2_000


class Question(NamedTuple):
    """A question and its only correct answer."""

    text: str
    answer: str


def sums(seed: int) -> Iterator[Question]:
    """`sum +4 -1 +7 +7`: four or five terms of one digit; the sum is never negative."""
    for entry in _reasoning_gym("chain_sum", seed, min_terms=4, max_terms=5, min_digits=1, max_digits=1):
        # Non-negative answers are a single token each in the model's vocabulary.
        if int(entry["answer"]) >= 0:
            terms = entry["metadata"]["expression"].replace("+ ", "+").replace("- ", "-")
            yield Question(f"sum +{terms}", entry["answer"])


def divisors(seed: int) -> Iterator[Question]:
    """`gcd 27 18`: the greatest common divisor of two numbers up to 40."""
    for entry in _reasoning_gym("gcd", seed, min_numbers=2, max_numbers=2, min_value=2, max_value=40):
        # The question itself is a sentence, far longer than what it asks.
        first, second = entry["metadata"]["numbers"]
        yield Question(f"gcd {first} {second}", entry["answer"])


def letters(seed: int) -> Iterator[Question]:
    """`count e: seven big geese`: how often a letter occurs; answers cycle through 1, 2 and 3."""
    # Without the cycle nearly all answers would be 1, and guessing would pay.
    wanted = cycle("123")
    answer = next(wanted)
    for entry in _reasoning_gym("letter_counting", seed, min_words=2, max_words=3):
        text, letter = " ".join(entry["metadata"]["span"]).lower(), entry["metadata"]["target_letter"].lower()
        if str(text.count(letter)) == answer and re.fullmatch("[a-z ]{1,18}", text):
            yield Question(f"count {letter}: {text}", answer)
            answer = next(wanted)


def sorting(seed: int) -> Iterator[Question]:
    """`sort 23 2 13 29`: sort four or five distinct numbers up to 30 in ascending order."""
    config = {"min_numbers": 4, "max_numbers": 5, "min_value": 1, "max_value": 30, "max_decimals": 0}
    for entry in _reasoning_gym("number_sorting", seed, **config):
        # Reasoning Gym writes integers as "23.0".
        numbers = [int(float(number)) for number in entry["metadata"]["original_numbers"]]
        if len(set(numbers)) == len(numbers):
            yield Question(f"sort {_spaced(numbers)}", _spaced(sorted(numbers)))


def reachability(seed: int) -> Iterator[Question]:
    """`reach a to b c d e: fg ah ...`: which of four goals is reachable along directed edges."""
    generator = random.Random(f"reach {seed}")
    while True:
        start, *nodes = generator.sample(NODES, 6 + GOALS)
        near, far, goals = [start, *nodes[:3]], nodes[3:5], nodes[5:]
        # One goal hangs below a tree that grows from the start. The three others hang below `far`, which points into
        # that tree but is not reachable from it, so the direction of an edge matters.
        edges = [(generator.choice(near[:place]), near[place]) for place in range(1, len(near))]
        edges += [(generator.choice(near[1:]), goals[0]), (far[0], far[1]), (generator.choice(far), near[1])]
        edges += [(generator.choice(far), goal) for goal in goals[1:]]
        answer = goals[0]
        generator.shuffle(edges)
        generator.shuffle(goals)
        yield Question(f"reach {start} to {_spaced(goals)}: {_spaced(map(''.join, edges))}", answer)


def signed_sums(seed: int) -> Iterator[Question]:
    """`signed 5 12 9`: the smallest non-negative sum of +-5 +-12 +-9 (CoT2, arXiv 2505.23648)."""
    generator = random.Random(f"signed {seed}")
    while True:
        # Flipping every sign flips the total, so absolute values cover all eight combinations.
        first, second, third = (generator.randint(1, LARGEST_TERM) for _ in range(3))
        totals = {abs(first + sign * second) for sign in (1, -1)}
        yield Question(f"signed {first} {second} {third}", str(min(abs(total - third) for total in totals)))


TASKS: dict[str, Callable[[int], Iterator[Question]]] = {
    "sum": sums,
    "gcd": divisors,
    "count": letters,
    "sort": sorting,
    "reach": reachability,
    "signed": signed_sums,
}
"""Families by name: functions from a seed to endless questions."""


def load(
    tasks: str | Sequence[str] | None = None, *, size: int = 600, seed: int = 0, split: Split = "train"
) -> Dataset:
    """Make rows with `prompt` (one user message), `answer` (text) and `task`, families in turn, no question twice.

    Args:
        tasks: One family or several; by default all of `TASKS`.
        size: Total number of rows.
        seed: Seed of the questions. Train and test are disjoint within a seed and across seeds.
        split: "train", or "test" for one question in eight.

    Raises:
        ValueError: `tasks` is empty, unknown or repeats a family; `size` is below 1 or exceeds the number of distinct
            questions; or `split` is unknown.
        ImportError: A family needs reasoning-gym, which is not installed.
    """
    # Imported late: graders import this module in processes that never load a dataset.
    import datasets

    if size < 1:
        raise ValueError(f"`size` is {size}; give the number of rows, above 0.")
    names = list(TASKS) if tasks is None else [tasks] if isinstance(tasks, str) else list(tasks)
    if unknown := sorted(set(names) - set(TASKS)):
        raise ValueError(f"Unknown tasks {unknown}; choose among {list(TASKS)}.")
    if not names or len(set(names)) < len(names):
        raise ValueError(f"`tasks` needs names of families, each once, not {names}; leave it out for all of them.")
    sources = {name: _distinct(name, questions(name, seed=seed, split=split)) for name in names}
    return datasets.Dataset.from_list([row(name, next(sources[name])) for name in islice(cycle(names), size)])


def correct_answer(completions: list, answer: list[str], **_: Any) -> list[float]:
    """1 where the text between `<answer>` and `</answer>` equals the reference, else 0."""
    found = [final_answer(completion_text(completion)) for completion in completions]
    return [float(text == gold) for text, gold in zip(found, answer, strict=True)]


def questions(name: str, *, seed: int = 0, split: Split = "train") -> Iterator[Question]:
    """Generate a family's questions of one split, endlessly; questions repeat eventually.

    Raises:
        ValueError: `split` is unknown.
    """
    if split not in ("train", "test"):
        raise ValueError(f"Unknown split {split!r}; choose 'train' or 'test'.")
    return (each for each in TASKS[name](seed) if split_of("".join(sorted(each.text))) == split)


def row(name: str, question: Question) -> dict[str, Any]:
    """A question as a dataset row."""
    return {"prompt": [{"role": "user", "content": question.text}], "answer": question.answer, "task": name}


def _distinct(name: str, source: Iterator[Question]) -> Iterator[Question]:
    seen: set[str] = set()
    # Rejection sampling ends only by chance: small families run out of new questions.
    while fresh := next((each for each in islice(source, _MAX_MISSES) if each.text not in seen), None):
        seen.add(fresh.text)
        yield fresh
    raise ValueError(f"The family {name!r} has hardly more than {len(seen)} questions; ask for fewer rows.")


def _reasoning_gym(task: str, seed: int, **config: int) -> Iterator[dict[str, Any]]:
    """Entries of a Reasoning Gym dataset, in its own order."""
    start = 0
    while True:
        made = GENERATOR.some(task, config, seed=seed, indices=range(start, start + _BATCH))
        start += len(made)
        yield from (item.entry for item in made if item)


def _spaced(parts: Any) -> str:
    return " ".join(map(str, parts))
