"""Rows of the puzzles: questions to answer, and demonstrations of ways to think about them.

    rows = load(size=600)                                       # all families in turn; or load("reach")
    harder = load("reach", difficulty={"branching": 3, "depth": 2})
    taught = demonstrations(tokenizer, "superposed", size=600)  # for `MoTSFTTrainer`

A hash of a question's sorted characters decides its split, as for `mot_trl.tasks.nano`.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, cycle, islice
from typing import TYPE_CHECKING, NamedTuple

from mot_trl.rewards.answer import ANSWER_CLOSE, ANSWER_OPEN, THINK_CLOSE
from mot_trl.tasks.nano.puzzles import Split, correct_answer
from mot_trl.tasks.reasoning_gym.dataset import split_of
from mot_trl.tasks.width.graphs import graphs
from mot_trl.tasks.width.puzzle import WAYS, Puzzle
from mot_trl.tasks.width.reachability import reachability
from mot_trl.tasks.width.signed_sums import signed_sums

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

__all__ = ["TASKS", "Family", "correct_answer", "demonstrations", "load", "puzzles"]

_MAX_MISSES = 5_000


class Family(NamedTuple):
    """A family of puzzles.

    Attributes:
        generate: Makes endless puzzles from a seed and settings of difficulty.
        steps: Thinking steps that the default difficulty needs.
        answers: Answers that take turns, where some would come more often than others and guessing them would pay.
    """

    generate: Callable[..., Iterator[Puzzle]]
    steps: int
    answers: tuple[str, ...] = ()


TASKS: dict[str, Family] = {
    "reach": Family(reachability, steps=3),
    "least": Family(signed_sums, steps=3, answers=("0", "1", "2")),
    "graph": Family(graphs, steps=3),
}
"""Families by name."""


def load(
    tasks: str | Sequence[str] | None = None,
    *,
    size: int = 600,
    seed: int = 0,
    split: Split = "train",
    difficulty: Mapping[str, int] | None = None,
) -> Dataset:
    """Make rows with `prompt` (one user message), `answer` (text) and `task`, families in turn, no question twice.

    Args:
        tasks: One family or several; by default all of `TASKS`.
        size: Total number of rows.
        seed: Seed of the questions. Train and test are disjoint within a seed and across seeds.
        split: "train", or "test" for one question in eight.
        difficulty: Settings of the family's generator, such as `depth`; only with a single family.

    Raises:
        ValueError: `tasks` is empty, unknown or repeats a family; `size` is below 1 or exceeds the number of distinct
            questions; `split` is unknown; or a setting of the difficulty is, or is out of range.
    """
    # Imported late: graders import this module in processes that never load a dataset.
    import datasets

    found = _in_turn(tasks, size, seed, split, difficulty, distinct=True)
    return datasets.Dataset.from_list(
        [{"prompt": _chat(puzzle), "answer": puzzle.answer, "task": name} for name, puzzle in found]
    )


def demonstrations(
    tokenizer: PreTrainedTokenizerBase,
    way: str,
    tasks: str | Sequence[str] | None = None,
    *,
    size: int = 600,
    seed: int = 0,
    split: Split = "train",
    difficulty: Mapping[str, int] | None = None,
) -> Dataset:
    """Make rows for `MoTSFTTrainer`: `prompt`, `thought_ids`, `thought_weights`, and the answer as `completion`.

    Args:
        tokenizer: Of the model to train; each word of a thought must be one of its tokens.
        way: How to think, one of `WAYS`: the superposed frontiers, a single path, the frontiers breadth first in
            ordinary tokens, or pause tokens.
        tasks: As for `load`, and so are the others; but questions may repeat.

    Raises:
        ValueError: As for `load`; `way` is unknown, or the tokenizer splits a word.
    """
    import datasets

    if way not in WAYS:
        raise ValueError(f"Unknown way={way!r} to think; choose among {list(WAYS)}.")
    generator = random.Random(f"{way} {seed}")
    rows = []
    for _, puzzle in _in_turn(tasks, size, seed, split, difficulty, distinct=False):
        steps = WAYS[way](puzzle, generator)
        completion = f"{THINK_CLOSE}{ANSWER_OPEN}{puzzle.answer}{ANSWER_CLOSE}"
        ids = [[token_id(tokenizer, word) for word in step] for step in steps]
        weights = [list(step.values()) for step in steps]
        answer = [{"role": "assistant", "content": completion}]
        rows.append({"prompt": _chat(puzzle), "completion": answer, "thought_ids": ids, "thought_weights": weights})
    return datasets.Dataset.from_list(rows)


def puzzles(
    name: str, *, seed: int = 0, split: Split = "train", difficulty: Mapping[str, int] | None = None
) -> Iterator[Puzzle]:
    """Generate a family's puzzles of one split, endlessly, as its generator draws them; they repeat eventually.

    Raises:
        ValueError: As for `load`.
    """
    if split not in ("train", "test"):
        raise ValueError(f"Unknown split {split!r}; choose 'train' or 'test'.")
    family = TASKS[name]
    try:
        source = family.generate(seed, **(difficulty or {}))
    except TypeError as error:
        raise ValueError(f"The family {name!r} has no such difficulty: {error}.") from error
    of_split = (each for each in source if split_of("".join(sorted(each.text))) == split)
    # A generator's own errors come with its first puzzle; let them come now.
    return chain([next(of_split)], of_split)


def token_id(tokenizer: PreTrainedTokenizerBase, word: str) -> int:
    """The token that writes a word in a thought: after a space if there is one such token.

    Raises:
        ValueError: Neither with a space nor without it is the word one token.
    """
    for text in (f" {word}", word):
        if len(ids := tokenizer.encode(text, add_special_tokens=False)) == 1:
            return ids[0]
    raise ValueError(f"A thought's {word!r} must be one token, and this tokenizer splits it; use that of nano.")


def _in_turn(
    tasks: str | Sequence[str] | None,
    size: int,
    seed: int,
    split: Split,
    difficulty: Mapping[str, int] | None,
    *,
    distinct: bool,
) -> Iterator[tuple[str, Puzzle]]:
    if size < 1:
        raise ValueError(f"`size` is {size}; give the number of rows, above 0.")
    names = list(TASKS) if tasks is None else [tasks] if isinstance(tasks, str) else list(tasks)
    if unknown := sorted(set(names) - set(TASKS)):
        raise ValueError(f"Unknown tasks {unknown}; choose among {list(TASKS)}.")
    if not names or len(set(names)) < len(names):
        raise ValueError(f"`tasks` needs names of families, each once, not {names}; leave it out for all of them.")
    if difficulty and len(names) > 1:
        raise ValueError(f"`difficulty` is a single family's, and there are {names}; name one as `tasks`.")
    sources = {}
    for name in names:
        source = puzzles(name, seed=seed, split=split, difficulty=difficulty)
        source = _distinct(name, source) if distinct else source
        sources[name] = _taking_turns(source, TASKS[name].answers) if TASKS[name].answers else source
    return ((name, next(sources[name])) for name in islice(cycle(names), size))


def _chat(puzzle: Puzzle) -> list[dict[str, str]]:
    return [{"role": "user", "content": puzzle.text}]


def _taking_turns(source: Iterator[Puzzle], answers: Sequence[str]) -> Iterator[Puzzle]:
    waiting: dict[str, deque[Puzzle]] = {answer: deque() for answer in answers}
    for answer in cycle(answers):
        while not waiting[answer]:
            drawn = next(source)
            # Bounded: a frequent answer would pile up while a rare one is looked for.
            if drawn.answer in waiting and len(waiting[drawn.answer]) < _MAX_MISSES:
                waiting[drawn.answer].append(drawn)
        yield waiting[answer].popleft()


def _distinct(name: str, source: Iterator[Puzzle]) -> Iterator[Puzzle]:
    seen: set[str] = set()
    # Rejection sampling ends only by chance: small families run out of new questions.
    while fresh := next((each for each in islice(source, _MAX_MISSES) if each.text not in seen), None):
        seen.add(fresh.text)
        yield fresh
    raise ValueError(f"The family {name!r} has hardly more than {len(seen)} questions; ask for fewer rows.")
