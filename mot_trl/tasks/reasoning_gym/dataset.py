"""Rows of Reasoning Gym's datasets and mixtures of them, split so that no test question is trained on.

    rows = load("maze", size=1000)                        # or a suite: "five", "ten"; or {"maze": 2, "acre": 1}
    held_out = load("maze", size=100, split="test")
    endless = stream("ten")                               # made while training: needs `max_steps`
    GRPOTrainer(..., reward_funcs=[score], train_dataset=rows, eval_dataset=held_out)

Items are Reasoning Gym's own, in its own order. A hash of the question alone decides on an item's split, so the splits
are disjoint whatever the seeds, sizes and settings. Seeds cannot separate them: item `i` of seed `s` is item 0 of seed
`s + i`, and some datasets have few questions.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from mot_trl.sandbox import codec
from mot_trl.tasks.reasoning_gym.generator import GENERATOR, Item
from mot_trl.tasks.reasoning_gym.suites import Part, TaskMixture, parts

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

INSTRUCTION = (
    "Reason step by step between <think> and </think>, then write the final answer alone, in the form asked for, "
    "between <answer> and </answer>."
)

TEST_SHARE = 8
"""One question in this many belongs to the test split."""

Split = Literal["train", "test"]
Level = Callable[[str, int], int | None]

names = GENERATOR.names

# Items asked for ahead, of which as many come as are made in a moment.
_AHEAD = 64
# Items in a row that may belong to the other split, before a dataset counts as exhausted.
_MAX_MISSES = 64 * TEST_SHARE


def load(mixture: TaskMixture, *, size: int = 500, seed: int = 42, split: Split = "train", **config: Any) -> Dataset:
    """Rows of a dataset or mixture, made at once; the same in every process.

    Columns: `prompt` (one user message), `question`, `answer` (a gold, or "" if none is known), `task` (the dataset's
    name) and `entry` (what `score` needs, as text, which keeps tuples, sets and integer keys).

    Args:
        mixture: A dataset's name (which may take settings, as `config`), a suite's, several names or parts, or a
            weight for each of several datasets. Rows follow the weights as closely as possible, at every length.
        seed: Reasoning Gym's; the splits of one seed and of different ones are disjoint.
        split: "train", or "test" for one question in eight.

    Raises:
        ValueError: A dataset does not exist, refuses its settings, or has too few questions for the split.
        TimeoutError: An item takes more than a minute.
        ImportError: reasoning-gym is not installed.
    """
    import datasets

    if size <= 0:
        raise ValueError(f"`size` is {size}; give the number of rows, above 0.")
    rows = _rows(**_plan(mixture, config, seed, split))
    return datasets.Dataset.from_list([made for made, _ in zip(rows, range(size), strict=False)])


def stream(
    mixture: TaskMixture, *, seed: int = 42, split: Split = "train", level: Level | None = None, **config: Any
) -> IterableDataset:
    """An endless stream of the rows of `load`, each made when it is asked for: set `max_steps`.

    Can be resumed: after a checkpoint come the rows that would have come without the interruption (the trainer skips
    those before; `datasets`' own `state_dict` works, too). The other arguments are those of `load`.

    Args:
        level: A `Curriculum`: the level for a dataset's name and a row's number, or None for `config`. Rows then have
            a column `level`, which `score` logs.
    """
    import datasets

    arguments = {**_plan(mixture, config, seed, split), "level": level}
    return datasets.IterableDataset.from_generator(_rows, gen_kwargs=arguments)


def split_of(question: str) -> Split:
    """The split of a question, ignoring letter case and white space."""
    digest = hashlib.sha256(" ".join(question.split()).casefold().encode()).digest()
    return "test" if int.from_bytes(digest[:8], "big") % TEST_SHARE == 0 else "train"


def _plan(mixture: TaskMixture, config: dict[str, Any], seed: int, split: str) -> dict[str, Any]:
    if split not in ("train", "test"):
        raise ValueError(f"Unknown split {split!r}; choose 'train' or 'test'.")
    return {"chosen": parts(mixture, config), "seed": seed, "split": split}


def _rows(chosen: tuple[Part, ...], seed: int, split: Split, level: Level | None = None) -> Iterator[dict[str, Any]]:
    """Rows of the parts by turns: the part that is furthest behind its weight comes next."""
    sources = [_Source(part, seed, split) for part in chosen]
    behind = [0.0] * len(chosen)
    total = sum(part.weight for part in chosen)
    for position in itertools.count():
        behind = [lag + part.weight / total for lag, part in zip(behind, chosen, strict=True)]
        # Rounded, as sums of floats would break ties differently at different lengths.
        turn = max(range(len(chosen)), key=lambda number: round(behind[number], 9))
        behind[turn] -= 1
        task = chosen[turn].task
        now = level(task, position) if level else None
        # -1 for none, so that the reward gets integers throughout.
        extra = {"level": -1 if now is None else now} if level else {}
        yield row(task, sources[turn].next(now)) | extra


class _Source:
    """The items of one dataset that belong to one split, in order."""

    def __init__(self, part: Part, seed: int, split: Split) -> None:
        self._part, self._seed, self._split = part, seed, split
        self._level: int | None = None
        self._ahead: deque[Item | None] = deque()  # those from the next index on
        self._index = 0

    def next(self, level: int | None = None) -> Item:
        part = self._part
        if level != self._level:
            self._ahead.clear()
            self._level = level
        for _ in range(_MAX_MISSES):
            if (item := self._take()) is not None:
                return item
        raise ValueError(
            f"{_MAX_MISSES} items of {part.task} held no question of the {self._split} split: with "
            f"{part.settings}, the dataset has too few different questions."
        )

    def _take(self) -> Item | None:
        if not self._ahead:
            indices = range(self._index, self._index + _AHEAD)
            ask = partial(GENERATOR.some, self._part.task, self._part.settings, seed=self._seed, level=self._level)
            self._ahead.extend(ask(indices=indices, split=self._split))
        self._index += 1
        return self._ahead.popleft()


def row(task: str, item: Item) -> dict[str, Any]:
    """An item as a row of `load`."""
    question, answer = item.entry["question"], item.entry["answer"]
    kept = {name: value for name, value in item.entry.items() if name != "question"}
    return {
        "prompt": [{"role": "user", "content": f"{question}\n\n{INSTRUCTION}"}],
        "question": question,
        # Some golds are numbers or missing; a column has one type.
        "answer": "" if answer is None else str(answer),
        "task": task,
        "entry": json.dumps(codec.encode({"config": item.config, "entry": kept})),
    }
