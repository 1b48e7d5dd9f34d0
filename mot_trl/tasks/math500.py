"""MATH-500: competition problems answered by a LaTeX expression (arXiv:2103.03874, the split of arXiv:2305.20050)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mot_trl.rewards.format import integer_answer, soft_format, strict_format, tag_count
from mot_trl.rewards.math.math_verify import require_math_verify
from mot_trl.tasks import math as any_math
from mot_trl.tasks.math import INSTRUCTION, correct_answer

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["INSTRUCTION", "correct_answer", "integer_answer", "load", "soft_format", "strict_format", "tag_count"]

# Each split's dataset on the hub, and its column with the gold. MATH-500 itself has no training problems.
_SOURCES = {
    "test": ("HuggingFaceH4/MATH-500", "answer"),
    "train": ("DigitalLearningGmbH/MATH-lighteval", "solution"),
}


def load(split: str = "test", path: str | Path | None = None) -> Dataset:
    """Rows with `prompt` (one user message), `question` (the problem alone) and `answer` (the gold in LaTeX).

    Args:
        split: `test` (the 500) or `train`: MATH's own 7500 training problems, none of which is among the 500.
        path: A `.jsonl` file, or a folder holding `<split>.jsonl`, in place of the hub's HuggingFaceH4/MATH-500 and
            DigitalLearningGmbH/MATH-lighteval; rows have `problem`, and `answer` (`test`) or `solution` (`train`).

    Raises:
        FileNotFoundError: `path` does not exist or lacks the split.
        ImportError: math-verify, which the reward needs, is not installed: better known before the training.
    """
    require_math_verify()
    # Of an unknown split, the hub or the folder says itself which ones there are.
    hub_id, answer_column = _SOURCES.get(split, _SOURCES["test"])
    return any_math.load(split, path, hub_id=hub_id, question_column="problem", answer_column=answer_column)
