"""MATH-500: competition problems answered by a LaTeX expression (arXiv:2103.03874, the split of arXiv:2305.20050)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mot_trl.grading.verifier import require_math_verify
from mot_trl.tasks import maths
from mot_trl.tasks.formats import integer_answer, soft_format, strict_format, tag_count
from mot_trl.tasks.maths import INSTRUCTION, correct_answer

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["INSTRUCTION", "correct_answer", "integer_answer", "load", "soft_format", "strict_format", "tag_count"]


def load(split: str = "test", path: str | Path | None = None) -> Dataset:
    """Rows with `prompt` (one user message), `question` (its problem alone) and `answer` (the gold in LaTeX).

    Args:
        split: `test` (500 rows) is all that the data set has.
        path: a `.jsonl` file, or a folder holding `<split>.jsonl`, in place of the hub's HuggingFaceH4/MATH-500.

    Raises FileNotFoundError where `path` does not exist or lacks the split; ImportError, before any training, where
    math-verify is missing, which the reward needs.
    """
    require_math_verify()
    return maths.load(split, path, hub_id="HuggingFaceH4/MATH-500", question_column="problem")
