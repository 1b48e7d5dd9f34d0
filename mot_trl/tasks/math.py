r"""Any dataset of math questions with one final answer each: SVAMP, ASDiv, AIME, AMC, Minerva, OlympiadBench, ...

rows = math.load("train", hub_id="AI-MO/aimo-validation-aime", question_column="problem")
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mot_trl.rewards.format import integer_answer, soft_format, strict_format, tag_count
from mot_trl.rewards.math import MathReward
from mot_trl.rewards.math.gold import read_golds
from mot_trl.rewards.math.question import question_text
from mot_trl.tasks.loading import question_features, question_row, read_rows

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
    unit_column: str | None = None,
    tolerance_column: str | None = None,
    instruction: str = INSTRUCTION,
) -> Dataset:
    r"""Rows with `prompt` (one user message), `question` (the problem alone) and `answer` (the gold as text).

    Rows without a gold, or with several, are left out, with a warning that names the first.

    Args:
        path: A `.jsonl`, `.json` or `.parquet` file, or a folder holding `<split>.jsonl`, in place of `hub_id` and its
            `config`.
        question_column: The column with the problem, text or chat messages; several are joined by a space (SVAMP's
            `Body` and `Question`). A dot leads into a column of structs, here and below.
        answer_column: The column with the gold, text or numbers (DAPO's `reward_model.ground_truth`). Of a list of
            one, the item counts (OlympiadBench's `final_answer`); of a solution, what stands behind `####` (GSM8K) or
            in the last `\boxed{}` (MATH).
        unit_column: The column with the golds' units, if they stand apart (OlympiadBench's `unit`); they are put
            behind the golds, so that an answer may leave them out, but not replace them.
        tolerance_column: The column with how far a right number may be from the gold's, as a number or as text
            (OlympiadBench's `error`; of several between commas the least counts). The rows then have a column
            `tolerance`, which `correct_answer` reads.
        instruction: What the prompt asks for behind the problem.

    Raises:
        FileNotFoundError: `path` does not exist or lacks the split.
        ValueError: Neither `path` nor `hub_id` is given, a column is missing, a row has no problem or a tolerance
            that is no number (the message has its number, from 0), or no row has a gold.
    """
    if path is None and hub_id is None:
        raise ValueError("Give `hub_id` (a dataset on the hub) or `path` (a file or a folder of .jsonl files).")
    questions = (question_column,) if isinstance(question_column, str) else question_column
    rows = read_rows(split, path, hub_id=hub_id or "a dataset", config=config)
    # Not by `read_rows`: here the caller may have named the columns, so the message says how.
    named = {*questions, answer_column, *filter(None, (unit_column, tolerance_column))}
    missing = sorted(name for name in named if not {name, name.partition(".")[0]} & set(rows.column_names))
    if missing:
        raise ValueError(
            f"The rows have the columns {sorted(rows.column_names)}, not {missing}; "
            "name theirs in `question_column`, `answer_column`, `unit_column` and `tolerance_column`."
        )

    def to_row(row: dict[str, Any], index: int) -> dict[str, Any]:
        # SVAMP's bodies end in spaces.
        question = " ".join(_problem(row, column, index) for column in questions)
        gold = gold_answer(_entry(row, answer_column))
        unit = _entry(row, unit_column) if unit_column else None
        made = question_row(question, f"{gold} {_unit(unit)}" if gold and unit else gold, instruction)
        return made | ({"tolerance": _tolerance(row, tolerance_column, index)} if tolerance_column else {})

    # The model is asked for one answer, so a row that has several could never be graded fairly.
    # Without `features`, texts would become numbers again in a column `answer` that held numbers.
    features = question_features(tolerance=tolerance_column is not None)
    made = rows.map(to_row, with_indices=True, remove_columns=rows.column_names, features=features)
    graded = made.filter(lambda row: row["answer"] is not None)
    if len(graded) == 0:
        raise ValueError(f"No row has a single gold in `{answer_column}`; name another in `answer_column`.")
    if len(graded) < len(made):
        first = made["answer"][:].index(None)
        _logger.warning(
            "Left out %d of %d rows, which have no gold or several; the first is row %d: %.80r.",
            *(len(made) - len(graded), len(made), first, _entry(rows[first], answer_column)),
        )
    return graded


def correct_answer(completions: list, answer: list, **columns: Any) -> list[float | None]:
    """1 where the final answer is equivalent to the gold, 0 where not, None where the gold cannot be read."""
    return _REWARD(completions=completions, answer=answer, **columns)


def gold_answer(gold: Any) -> str | None:
    """The one gold in a dataset's entry, as text; None if there is none or several."""
    if isinstance(gold, (list, tuple)):
        return gold_answer(gold[0]) if len(gold) == 1 else None
    # The last one is the fraction that a float is.
    return next(reversed(read_golds(gold)), None)


def _problem(row: Mapping[str, Any], column: str, index: int) -> str:
    entry = _entry(row, column)
    is_chat = isinstance(entry, list) and all(isinstance(message, Mapping) for message in entry)
    text = question_text(entry).strip() if is_chat or isinstance(entry, str) else ""
    if not text:
        raise ValueError(f"Row {index}: `{column}` holds {entry!r:.60}, which is no text of a problem.")
    return text


def _unit(unit: Any) -> str:
    # A bare letter would be a factor.
    return rf"\text{{ {unit}}}" if re.fullmatch(r"[\w/ ^.°-]+", str(unit)) else str(unit)


def _tolerance(row: Mapping[str, Any], column: str, index: int) -> float | None:
    entry = _entry(row, column)
    if entry is None or not str(entry).strip():
        return None
    try:
        found = min(map(float, entry if isinstance(entry, list) else str(entry).split(",")))
    except (TypeError, ValueError):
        found = -1.0
    if not 0 <= found < float("inf"):
        raise ValueError(f"Row {index}: `{column}` holds {entry!r:.60}, which is no distance between numbers.")
    return found


def _entry(row: Mapping[str, Any], column: str) -> Any:
    if column in row:
        return row[column]
    name, _, rest = column.partition(".")
    entry = row[name]
    # A column whose structs differ in their types holds them as JSON.
    if isinstance(entry, str) and entry.startswith("{"):
        entry = json.loads(entry)
    return _entry(entry, rest) if isinstance(entry, Mapping) and rest.partition(".")[0] in entry else None
