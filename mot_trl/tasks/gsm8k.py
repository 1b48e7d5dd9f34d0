"""GSM8K: grade-school word problems whose answer is a number (arXiv:2110.14168)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mot_trl.rewards.format import integer_answer, soft_format, strict_format, tag_count
from mot_trl.rewards.math import MathReward
from mot_trl.tasks.loading import question_features, question_row, read_rows

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = [
    "FIXTURE",
    "INSTRUCTION",
    "correct_answer",
    "integer_answer",
    "load",
    "soft_format",
    "strict_format",
    "tag_count",
]

FIXTURE = Path(__file__).parent / "fixtures" / "gsm8k"
"""A folder with 24 short rows of `train` and 8 of `test`, for runs without a network: `load(path=FIXTURE)`."""

INSTRUCTION = (
    "Reason step by step between <think> and </think>, "
    "then write the final number, alone, between <answer> and </answer>."
)

# The golds are plain numbers, so nothing here needs computer algebra, and so math-verify.
_REWARD = MathReward(symbolic=False)


def load(split: str = "train", path: str | Path | None = None) -> Dataset:
    """Rows with `prompt` (one user message), `question` (the problem alone) and `answer` (the gold number as text).

    Args:
        split: `train` (7473 rows) or `test` (1319).
        path: A `.jsonl` file, or a folder holding `<split>.jsonl`, in place of the hub's openai/gsm8k.

    Raises:
        FileNotFoundError: `path` does not exist or lacks the split.
        ValueError: A column is missing, or a row has no gold answer.
    """
    rows = read_rows(split, path, hub_id="openai/gsm8k", config="main", columns=("question", "answer"))
    return rows.map(_row, with_indices=True, remove_columns=rows.column_names, features=question_features())


def correct_answer(completions: list, answer: list, **columns: Any) -> list[float | None]:
    """1 where the final answer equals the gold number, else 0; also 0 without an answer or an end of the thinking."""
    return _REWARD(completions=completions, answer=answer, **columns)


def gold_number(solution: str) -> str:
    """The number behind the last `####` of a GSM8K solution, without thousands separators."""
    _, mark, number = solution.rpartition("####")
    if not mark or not number.strip():
        raise ValueError(f"A GSM8K solution ends in `#### <number>`; this one does not: {solution[-80:]!r}.")
    return number.strip().replace(",", "")


def _row(row: dict[str, Any], index: int) -> dict[str, Any]:
    # `datasets` does not say which row an error inside `map` comes from.
    try:
        answer = gold_number(str(row["answer"]))
    except ValueError as error:
        raise ValueError(f"Row {index}: {error}") from error
    return question_row(row["question"], answer, INSTRUCTION)
