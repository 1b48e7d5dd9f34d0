"""GSM8K: grade-school word problems whose answer is a number (arXiv:2110.14168)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mot_trl.rewards.format import integer_answer, soft_format, strict_format, tag_count
from mot_trl.rewards.math.equivalence import MathReward
from mot_trl.tasks.loading import read_rows

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

COLUMNS = ["prompt", "question", "answer"]

# The golds are plain numbers: nothing here needs computer algebra, so nothing here needs math-verify.
_GRADE = MathReward(symbolic=False)


def load(split: str = "train", path: str | Path | None = None) -> Dataset:
    """Rows with `prompt` (one user message), `question` (its problem alone) and `answer` (the gold number as text).

    Args:
        split: `train` (7473 rows) or `test` (1319).
        path: a `.jsonl` file, or a folder holding `<split>.jsonl`, in place of the hub's openai/gsm8k.

    Raises FileNotFoundError where `path` does not exist or lacks the split; ValueError where a row has no gold answer.
    """
    rows = read_rows(split, path, hub_id="openai/gsm8k", config="main")
    missing = sorted({"question", "answer"} - set(rows.column_names))
    if missing:
        raise ValueError(f"GSM8K rows need the columns `question` and `answer`; these lack {missing}.")
    return rows.map(_row, with_indices=True, remove_columns=rows.column_names).select_columns(COLUMNS)


def correct_answer(completions: list, answer: list[str], **columns: Any) -> list[float | None]:
    """1 where the final answer equals the gold number, else 0: also where there is none or the thinking never ends."""
    return _GRADE(completions=completions, answer=answer, **columns)


def gold_number(solution: str) -> str:
    """The number behind the last `####` of a GSM8K solution, without its thousands separators."""
    _, mark, number = solution.rpartition("####")
    if not mark or not number.strip():
        raise ValueError(f"A GSM8K solution ends in `#### <number>`; this one does not: {solution[-80:]!r}.")
    return number.strip().replace(",", "")


def _row(row: dict[str, str], index: int) -> dict[str, Any]:
    try:
        answer = gold_number(row["answer"])
    except ValueError as error:
        raise ValueError(f"Row {index}: {error}") from error
    message = {"role": "user", "content": f"{row['question']}\n\n{INSTRUCTION}"}
    return {"prompt": [message], "question": row["question"], "answer": answer}
