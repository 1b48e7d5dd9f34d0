"""LeetCodeDataset: programming problems with starter code and many tests (arXiv:2504.14655).

The rewards are those of `mbpp`. Solutions may use `sortedcontainers` and NumPy where they are installed.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mot_trl.rewards.code import COLUMNS, compiles, has_code_block, runs, tests_fraction, tests_pass
from mot_trl.sandbox import checks
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
    try:
        tests = split_tests(row["test"])
    except (SyntaxError, TypeError, ValueError) as error:
        raise ValueError(f"LeetCodeDataset's row {row['task_id']!r} cannot be used: {error}") from error
    return {
        "prompt": [{"role": "user", "content": row["query"]}],
        "task_id": row["task_id"],
        "tests": tests,
        # The tests call the solution by the name that `check(candidate)` gives it.
        "entry_points": [["candidate", row["entry_point"]]],
        "prelude": row["prompt"],
        "setup": "",
    }


def split_tests(source: str) -> list[str]:
    """The checks in the body of `def check(candidate)`, each with the statements that lead up to it.

    A loop, a `try` or another statement that checks the candidate is one test. Statements behind the last check belong
    to its test. A body that returns stays whole.

    Raises:
        ValueError: It is not such a function, or checks nothing.
    """
    module = ast.parse(source)
    match module.body:
        case [ast.FunctionDef(name="check", args=ast.arguments(args=[ast.arg(arg="candidate")])) as check]:
            pass
        case _:
            raise ValueError(f"a test must be one function `check(candidate)`; this is {source[:80]!r}.")
    tests, leading = _split(check.body)
    if not tests:
        raise ValueError(f"its tests check nothing: {source[-80:]!r}.")
    if any(isinstance(node, (ast.Return, ast.Yield, ast.Nonlocal, ast.Global)) for node in ast.walk(check)):
        return [f"{ast.unparse(check)}\ncheck(candidate)"]
    return [*tests[:-1], "\n".join([tests[-1], *leading])]


def _split(body: list[ast.stmt]) -> tuple[list[str], list[str]]:
    """The tests, and what is left behind the last one."""
    tests: list[str] = []
    leading: list[str] = []
    sources = [ast.unparse(statement) for statement in body]
    for source, (_, checks_something) in zip(sources, checks.mark(sources, {"candidate"}), strict=True):
        # An assert may use what an earlier statement made, as in `same = tree_node(...)`.
        leading.append(source)
        if checks_something:
            tests.append("\n".join(leading))
            leading = []
    return tests, leading
