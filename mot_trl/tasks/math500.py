"""MATH-500: competition problems answered by a LaTeX expression (arXiv:2103.03874, the split of arXiv:2305.20050)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mot_trl.rewards.format import integer_answer, soft_format, strict_format, tag_count
from mot_trl.rewards.math.math_verify import require_math_verify
from mot_trl.tasks import math as maths
from mot_trl.tasks.math import INSTRUCTION, correct_answer

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["INSTRUCTION", "correct_answer", "integer_answer", "load", "soft_format", "strict_format", "tag_count"]

_SOURCES = {
    "test": ("HuggingFaceH4/MATH-500", "answer"),
    "train": ("DigitalLearningGmbH/MATH-lighteval", "solution"),
}
"""Each split's data set on the hub, and its column with the gold."""


def load(split: str = "test", path: str | Path | None = None) -> Dataset:
    """Rows with `prompt` (one user message), `question` (its problem alone) and `answer` (the gold in LaTeX).

    Args:
        split: `test` (the 500) or `train`: MATH's own 7500 training problems, none of which is among the 500.
        path: a `.jsonl` file, or a folder holding `<split>.jsonl`, in place of the hub's HuggingFaceH4/MATH-500 and
            DigitalLearningGmbH/MATH-lighteval; rows have `problem`, and `answer` (`test`) or `solution` (`train`).

    Raises FileNotFoundError where `path` does not exist or lacks the split; ImportError, before any training, where
    math-verify is missing, which the reward needs.
    """
    require_math_verify()
    hub_id, answer_column = _SOURCES.get(split, _SOURCES["test"])
    return maths.load(split, path, hub_id=hub_id, question_column="problem", answer_column=answer_column)
