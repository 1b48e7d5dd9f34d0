"""LeetCodeDataset: programming problems with starter code and many tests (arXiv:2504.14655).

The rewards are those of `mbpp`. Solutions may use `sortedcontainers` and NumPy where they are installed.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mot_trl.rewards.code import COLUMNS, compiles, has_code_block, runs, tests_fraction, tests_pass
from mot_trl.tasks.loading import read_rows

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["compiles", "has_code_block", "load", "runs", "tests_fraction", "tests_pass"]

_NEEDED = ("task_id", "query", "prompt", "test", "entry_point")


def load(split: str = "train", path: str | Path | None = None) -> Dataset:
    """Rows with `prompt` (one user message), `task_id`, and what the rewards need: `tests`, `entry_points`, ...

    The dataset's own `prompt`, the imports and node classes that solutions rely on, becomes `prelude`.

    Args:
        split: `train` (2641 rows) or `test` (228).
        path: A `.jsonl` file, or a folder holding `<split>.jsonl`, in place of the hub's newfacade/LeetCodeDataset.
    """
    rows = read_rows(split, path, hub_id="newfacade/LeetCodeDataset", columns=_NEEDED)
    return rows.map(_row, remove_columns=rows.column_names).select_columns(list(COLUMNS))


def _row(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "prompt": [{"role": "user", "content": row["query"]}],
        "task_id": row["task_id"],
        "tests": split_tests(row["test"]),
        # The tests call the solution by the name that `check(candidate)` gives it.
        "entry_points": [["candidate", row["entry_point"]]],
        "prelude": row["prompt"],
        "setup": "",
    }


def split_tests(source: str) -> list[str]:
    """The asserts in the body of `def check(candidate)`, each with the statements that lead up to it."""
    body = ast.parse(source).body
    if len(body) != 1 or not isinstance(body[0], ast.FunctionDef) or body[0].name != "check":
        raise ValueError(f"A test must be one function `check(candidate)`; this is {source[:80]!r}.")
    tests: list[str] = []
    leading: list[ast.stmt] = []
    for statement in body[0].body:
        # An assert may use what an earlier statement made, as in `same = tree_node(...)`.
        leading.append(statement)
        if isinstance(statement, ast.Assert):
            tests.append("\n".join(map(ast.unparse, leading)))
            leading = []
    return tests
