"""MBPP: short Python functions described in a sentence, with asserts to check them (arXiv:2108.07732).

The rewards are TRL reward callables in [0, 1]:

- `tests_pass`: 1 if every test passes; `tests_fraction`: the fraction of tests that pass.
- `runs`: 1 if the program loads, and raises nothing while it is tested.
- `compiles`: 1 if it is Python.
- `has_code_block`: 1 if the completion has a closed code block after its thinking.
"""

from __future__ import annotations

import ast
import builtins
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mot_trl.rewards.code import COLUMNS, compiles, has_code_block, runs, tests_fraction, tests_pass
from mot_trl.tasks.loading import read_rows

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["FIXTURE", "INSTRUCTION", "compiles", "has_code_block", "load", "runs", "tests_fraction", "tests_pass"]

FIXTURE = Path(__file__).parent / "fixtures" / "mbpp"
"""A folder with 8 rows of `train` and 4 of `test`, for runs without a network: `load(path=FIXTURE)`."""

INSTRUCTION = "Answer with one Python code block that holds the whole solution."


def load(split: str = "train", path: str | Path | None = None, *, sanitized: bool = False, shown: int = 1) -> Dataset:
    """Rows with `prompt` (one user message), `task_id`, and what the rewards need: `tests`, `entry_points`, ...

    Args:
        split: `train` (374 rows; sanitized 120), `test` (500; 257), `validation` (90; 43) or `prompt` (10; 7).
        path: A `.jsonl` file, or a folder holding `<split>.jsonl`, in place of google-research-datasets/mbpp.
        sanitized: The hand-checked rows, from the hub. With `path`, the file says which it is.
        shown: Number of tests in the prompt. They give the function's name, but what is shown can be hard-coded.
    """
    config = "sanitized" if sanitized else "full"
    columns = ("task_id", "code", "test_list")
    rows = read_rows(split, path, hub_id="google-research-datasets/mbpp", config=config, columns=columns)
    return rows.map(lambda row: _row(row, shown), remove_columns=rows.column_names).select_columns(list(COLUMNS))


def _row(row: dict[str, Any], shown: int) -> dict[str, Any]:
    tests = [test.strip() for test in row["test_list"]]
    setup = (row.get("test_setup_code") or "").replace("\r\n", "\n")
    with warnings.catch_warnings():
        # Some references write '\w' in an ordinary string, which Python warns of.
        warnings.simplefilter("ignore")
        reference = ast.parse(row["code"].replace("\r\n", "\n"))
    # A test may get at a function through the row's own setup, so its names count as well.
    used = {node.id for node in ast.walk(ast.parse("\n".join([setup, *tests]))) if isinstance(node, ast.Name)}
    # The full rows call them "text", the sanitized ones "prompt".
    task = (row.get("text") or row["prompt"]).strip()
    request = [task, "Your code should pass tests like these:", "\n".join(tests[:shown]), INSTRUCTION]
    return {
        "prompt": [{"role": "user", "content": "\n\n".join(request)}],
        "task_id": row["task_id"],
        "tests": tests,
        # Only what the reference defines may come from the program: one that defines its own `set` changes no test.
        "entry_points": [[name, name] for name in sorted(_names_defined(reference) & used)],
        "prelude": "",
        # The tests run apart from the program, so they need the imports that they share with the reference.
        "setup": "\n".join([*(row.get("test_imports") or [""]), *_imports_of(reference, used), setup]),
    }


def _names_defined(reference: ast.Module) -> set[str]:
    # On the top level only: what is local to a function no test can call.
    defined = {node.name for node in reference.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    assigned = [target for node in reference.body if isinstance(node, ast.Assign) for target in node.targets]
    return defined | {target.id for target in assigned if isinstance(target, ast.Name)}


def _imports_of(reference: ast.Module, used: set[str]) -> list[str]:
    """The reference's imports that the tests use, such as `sys` for `sys.getsizeof`."""
    # The reference's own names come from the program, and builtins from Python.
    missing = used - _names_defined(reference) - set(dir(builtins))
    imports = [node for node in reference.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    return [ast.unparse(node) for node in imports if any((a.asname or a.name) in missing for a in node.names)]
