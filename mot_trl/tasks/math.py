r"""Any dataset of math questions with one final answer each: SVAMP, ASDiv, AIME, AMC, Minerva, OlympiadBench, ...

rows = math.load("train", hub_id="AI-MO/aimo-validation-aime", question_column="problem")
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mot_trl.rewards.answer import final_answer
from mot_trl.rewards.format import integer_answer, soft_format, strict_format, tag_count
from mot_trl.rewards.math import MathReward
from mot_trl.tasks.loading import QUESTION_COLUMNS, question_row, read_rows

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["INSTRUCTION", "correct_answer", "integer_answer", "load", "soft_format", "strict_format", "tag_count"]

INSTRUCTION = (
    "Reason step by step between <think> and </think>, "
    r"then write the final answer, alone and in \boxed{}, between <answer> and </answer>."
)
_REWARD = MathReward()
_logger = logging.getLogger(__name__)


def load(
    split: str = "test",
    path: str | Path | None = None,
    *,
    hub_id: str | None = None,
    config: str | None = None,
    question_column: str | tuple[str, ...] = "question",
    answer_column: str = "answer",
    instruction: str = INSTRUCTION,
) -> Dataset:
    r"""Rows with `prompt` (one user message), `question` (the problem alone) and `answer` (the gold as text).

    Rows without a gold, or with several, are left out, with a warning.

    Args:
        path: A `.jsonl` file, or a folder holding `<split>.jsonl`, in place of `hub_id` and its `config`.
        question_column: The column with the problem; several are joined by a space (SVAMP's `Body` and `Question`).
        answer_column: The column with the gold. Of a list of one, the item counts (OlympiadBench's `final_answer`); of
            a solution, what stands behind `####` (GSM8K) or in the last `\boxed{}` (MATH).
        instruction: What the prompt asks for behind the problem.

    Raises:
        FileNotFoundError: `path` does not exist or lacks the split.
        ValueError: Neither `path` nor `hub_id` is given, a column is missing, or no row has a gold.
    """
    if path is None and hub_id is None:
        raise ValueError("Give `hub_id` (a dataset on the hub) or `path` (a .jsonl file or a folder of them).")
    questions = (question_column,) if isinstance(question_column, str) else question_column
    rows = read_rows(split, path, hub_id=hub_id or "a dataset", config=config)
    # Not by `read_rows`: here the caller may have named the columns, so the message says how.
    missing = sorted({*questions, answer_column} - set(rows.column_names))
    if missing:
        raise ValueError(
            f"The rows have the columns {sorted(rows.column_names)}, not {missing}; "
            "name theirs in `question_column` and `answer_column`."
        )

    def to_row(row: dict[str, Any]) -> dict[str, Any]:
        # SVAMP's bodies end in spaces.
        question = " ".join(str(row[column]).strip() for column in questions)
        return question_row(question, gold_answer(row[answer_column]), instruction)

    # The model is asked for one answer, so a row that has several could never be graded fairly.
    made = rows.map(to_row, remove_columns=rows.column_names).select_columns(QUESTION_COLUMNS)
    graded = made.filter(lambda row: row["answer"] is not None)
    if len(graded) == 0:
        raise ValueError(f"No row has a single gold in `{answer_column}`; name another in `answer_column`.")
    if len(graded) < len(made):
        _logger.warning("Left out %d of %d rows, which have no gold or several.", len(made) - len(graded), len(made))
    return graded


def correct_answer(completions: list, answer: list[str], **columns: Any) -> list[float | None]:
    """1 where the final answer is equivalent to the gold, 0 where not, None where the gold cannot be read."""
    return _REWARD(completions=completions, answer=answer, **columns)


def gold_answer(gold: Any) -> str | None:
    """The one gold in a dataset's entry, as text; None if there is none or several."""
    if isinstance(gold, (list, tuple)):
        return gold_answer(gold[0]) if len(gold) == 1 else None
    # True would become the text "True", which is a word and no mathematics.
    if gold is None or isinstance(gold, bool):
        return None
    # SVAMP and ASDiv hold 8.0 for 8.
    if isinstance(gold, float) and gold.is_integer():
        gold = int(gold)
    text = str(gold).strip()
    # `final_answer` finds nothing in a bare answer such as `25`.
    return (final_answer(text) if r"\boxed" in text or "####" in text else text) or None
