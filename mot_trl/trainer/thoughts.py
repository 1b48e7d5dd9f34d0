"""Thinking that is given as mixtures: ids beyond the vocabulary in a dataset, a record of blends in a batch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor
from torch.nn import functional as F

from mot_trl.modeling.rollout import Rollout

THOUGHT_IDS, THOUGHT_WEIGHTS = "thought_ids", "thought_weights"
COLUMNS = (THOUGHT_IDS, THOUGHT_WEIGHTS)

IGNORED = -100
"""TRL's label of a position without loss."""

FIRST_ID = 1 << 32
"""Id of the first mixture, larger than that of any token."""

EXPOSED = 1 << 40
"""Added to the id of a token that soft exposure may replace, larger than that of any mixture."""


class ThoughtTable:
    """The mixtures of all rows, one after the other; each has the id `FIRST_ID` + its place.

    TRL tokenizes, cuts and packs rows that have one integer per position and no other column. A mixture is several
    integers and as many weights, so a row holds an id that no token has, and the collator looks the mixture up.

    Attributes:
        candidate_ids: Candidates of all mixtures, `(S, K)`; 0 in unused slots.
        log_weights: Logarithms of their weights, `(S, K)`; `-inf` in unused slots.
    """

    def __init__(self) -> None:
        self.candidate_ids = torch.zeros(0, 1, dtype=torch.long)
        self.log_weights = torch.zeros(0, 1)

    def __len__(self) -> int:
        """Number of mixtures."""
        return len(self.candidate_ids)

    def add(self, rows: Dataset) -> np.ndarray:
        """Take in the mixtures of a dataset: for each row the ids of its thoughts, from one entry to the next.

        Raises:
            ValueError: Candidates and weights do not fit together, or are no tokens or no weights.
        """
        columns = rows.select_columns([name for name in COLUMNS if name in rows.column_names]).with_format("arrow")[:]
        steps, step_of, candidate_ids = _flatten(columns[THOUGHT_IDS])
        weights = np.ones(len(candidate_ids))
        if THOUGHT_WEIGHTS in columns.column_names:
            other_steps, other_step_of, weights = _flatten(columns[THOUGHT_WEIGHTS])
            _refuse(steps != other_steps, "has not as many steps in `thought_weights` as in `thought_ids`")
            if not np.array_equal(step_of, other_step_of):
                sizes, others = (np.bincount(each, minlength=steps.sum()) for each in (step_of, other_step_of))
                _refuse(_rows_of(sizes != others, steps), "has a step with not as many weights as candidates")
        _refuse_candidates(~(candidate_ids >= 0), steps, step_of, "has a candidate that is no token")
        _refuse_candidates(~(weights >= 0), steps, step_of, "has a weight that is negative or no number")
        totals = np.bincount(step_of, weights, minlength=steps.sum())
        _refuse(_rows_of(~(totals > 0) | np.isinf(totals), steps), "has a step without weight")
        with np.errstate(divide="ignore"):  # a weight of zero is that of an unused slot
            log_weights = np.log(weights / totals[step_of])
        return len(self) + self._append(candidate_ids, log_weights, step_of, steps)

    def _append(
        self, candidate_ids: np.ndarray, log_weights: np.ndarray, step_of: np.ndarray, steps: np.ndarray
    ) -> np.ndarray:
        sizes = np.bincount(step_of, minlength=steps.sum())
        slots = np.arange(len(step_of)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        width = max(int(sizes.max(initial=1)), self.candidate_ids.size(1))
        added_ids = np.zeros((len(sizes), width), dtype=np.int64)
        added_weights = np.full((len(sizes), width), -np.inf, dtype=np.float32)
        added_ids[step_of, slots], added_weights[step_of, slots] = candidate_ids, log_weights
        spare = (0, width - self.candidate_ids.size(1))
        self.candidate_ids = torch.cat([F.pad(self.candidate_ids, spare), torch.from_numpy(added_ids)])
        padded = F.pad(self.log_weights, spare, value=-torch.inf)
        self.log_weights = torch.cat([padded, torch.from_numpy(added_weights)])
        return np.concatenate([[0], np.cumsum(steps)])

    def decode(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Replace each mixture's id by its heaviest candidate, and add the record of all mixtures.

        The record has a column for each position but the first, which nothing predicts. `exposed` marks the tokens
        that soft exposure may replace.
        """
        exposed = batch["input_ids"] >= EXPOSED
        ids = torch.where(exposed, batch["input_ids"] - EXPOSED, batch["input_ids"])
        batch = {**batch, "input_ids": ids, "exposed": exposed}
        is_thought = ids >= FIRST_ID
        if not is_thought.any():
            return batch
        at = torch.where(is_thought, ids - FIRST_ID, 0)
        heaviest = self.candidate_ids.gather(1, self.log_weights.argmax(dim=1, keepdim=True)).squeeze(1)
        visible_ids = torch.where(is_thought, heaviest[at], ids)
        labels = torch.where(batch["labels"] == IGNORED, IGNORED, visible_ids)
        thinking = is_thought[:, 1:]
        rollout = Rollout.empty(*thinking.shape, num_candidates=self.candidate_ids.size(1), device=ids.device)
        rollout.candidate_ids[thinking] = self.candidate_ids[at[:, 1:][thinking]].int()
        rollout.log_weights[thinking] = self.log_weights[at[:, 1:][thinking]]
        rollout.thinking_mask[:] = thinking & (labels[:, 1:] != IGNORED)
        rollout.mixture_mask[:] = thinking
        return {**batch, "input_ids": visible_ids, "labels": labels, **rollout.to_batch()}


@dataclass
class ThoughtCollator:
    """Collates as TRL does, then looks mixtures up."""

    collate: Callable[[list[dict[str, Any]]], dict[str, Tensor]]
    table: ThoughtTable

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Make a batch of TRL's tensors, and a record's if any of its rows thinks in mixtures."""
        batch = self.collate(rows)
        return self.table.decode(batch)


def completion_start(labels: list[int]) -> int:
    """Where the prompt of a tokenized row ends: at its first label."""
    return next((at for at, label in enumerate(labels) if label != IGNORED), len(labels))


def insert_thoughts(row: dict[str, Any], index: int, *, ends: np.ndarray) -> dict[str, Any]:
    """Put a tokenized row's thoughts between its prompt and its completion; each is input and label.

    Raises:
        ValueError: The row has no prompt.
    """
    ids, labels = row["input_ids"], row["labels"]
    start = completion_start(labels)
    thoughts = list(range(FIRST_ID + ends[index], FIRST_ID + ends[index + 1]))
    if thoughts and not start:
        raise ValueError(f"Row {index} of the dataset has an empty prompt, and nothing predicts its first thought.")
    return {
        "input_ids": ids[:start] + thoughts + ids[start:],
        "labels": labels[:start] + thoughts + labels[start:],
    }


def _flatten(column: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An Arrow column of lists (rows) of lists (steps) of numbers: steps per row, the step of each, the numbers."""
    per_row = column.combine_chunks()
    per_step = per_row.flatten()
    steps, sizes = (each.value_lengths().fill_null(0).to_numpy() for each in (per_row, per_step))
    return steps, np.repeat(np.arange(len(sizes)), sizes), per_step.flatten().to_numpy(zero_copy_only=False)


def _rows_of(faulty_steps: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Which rows have one of these steps."""
    rows = np.zeros(len(steps), dtype=bool)
    rows[np.repeat(np.arange(len(steps)), steps)[faulty_steps]] = True
    return rows


def _refuse_candidates(faulty: np.ndarray, steps: np.ndarray, step_of: np.ndarray, fault: str) -> None:
    faulty_steps = np.zeros(steps.sum(), dtype=bool)
    faulty_steps[step_of[faulty]] = True
    _refuse(_rows_of(faulty_steps, steps), fault)


def _refuse(faulty_rows: np.ndarray, fault: str) -> None:
    if faulty_rows.any():
        raise ValueError(f"Row {int(faulty_rows.argmax())} of the dataset {fault}.")
