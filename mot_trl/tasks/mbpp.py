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
import symtable
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mot_trl.rewards.code import COLUMNS, compiles, has_code_block, runs, tests_fraction, tests_pass
from mot_trl.sandbox import checks
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
    try:
        return _converted(row, shown)
    except (SyntaxError, TypeError, ValueError) as error:
        raise ValueError(f"MBPP's row {row['task_id']!r} cannot be used: {error}") from error


def _converted(row: dict[str, Any], shown: int) -> dict[str, Any]:
    listed = [test.strip() for test in _texts(row, "test_list")]
    if not listed:
        raise ValueError("its `test_list` is empty.")
    # The harder tests that some rows have are never shown.
    tests = listed + _texts(row, "challenge_test_list")
    setup = _text(row, "test_setup_code")
    with warnings.catch_warnings():
        # Some references write '\w' in an ordinary string, which Python warns of.
        warnings.simplefilter("ignore")
        code = _text(row, "code")
        reference = ast.parse(code)
        functions, data = _names_defined(code)
    # A test may get at a function through the row's own setup, so its names count as well.
    used = {node.id for node in ast.walk(ast.parse("\n".join([setup, *tests]))) if isinstance(node, ast.Name)}
    _refuse_idle(tests, checks.mark(tests, functions, setup=setup, data=data))
    # The full rows call them "text", the sanitized ones "prompt".
    task = (_text(row, "text") or _text(row, "prompt")).strip()
    if not task:
        raise ValueError("it needs a task, as `text` or as `prompt`.")
    request = [task, "Your code should pass tests like these:", "\n".join(listed[:shown]), INSTRUCTION]
    return {
        "prompt": [{"role": "user", "content": "\n\n".join(request)}],
        "task_id": row["task_id"],
        "tests": tests,
        # Only what the reference defines may come from the program: one that defines its own `set` changes no test.
        "entry_points": [[name, name] for name in sorted((functions | data) & used)],
        "prelude": "",
        # The tests run apart from the program, so they need the imports that they share with the reference.
        "setup": "\n".join([*_texts(row, "test_imports"), *_imports_of(reference, used - functions - data), setup]),
    }


def _text(row: dict[str, Any], column: str) -> str:
    value = row.get(column)
    if value is not None and not isinstance(value, str):
        raise TypeError(f"`{column}` must be text, and is {value!r:.80}.")
    return (value or "").replace("\r\n", "\n")


def _texts(row: dict[str, Any], column: str) -> list[str]:
    value = row.get(column)
    if value is not None and not (isinstance(value, list) and all(isinstance(part, str) for part in value)):
        raise TypeError(f"`{column}` must be a list of texts, and is {value!r:.80}.")
    return value or []


def _refuse_idle(tests: list[str], marked: list[tuple[ast.Module, bool]]) -> None:
    for test, (_, found) in zip(tests, marked, strict=True):
        if not found:
            raise ValueError(f"its test {test!r:.80} checks nothing that its `code` defines.")


def _names_defined(reference: str) -> tuple[set[str], set[str]]:
    """The functions and classes of a source, and its other names, which are data."""
    # On the top level only: what is local to a function no test can call.
    symbols = symtable.symtable(reference, "<reference>", "exec").get_symbols()
    defined = {symbol.get_name(): symbol.is_namespace() for symbol in symbols if symbol.is_assigned()}
    functions = {name for name, is_namespace in defined.items() if is_namespace}
    return functions, defined.keys() - functions


def _imports_of(reference: ast.Module, missing: set[str]) -> list[str]:
    """The reference's imports of names that the tests use, such as `sys` for `sys.getsizeof`."""
    missing = missing - set(dir(builtins))
    imports = [node for node in reference.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    return [ast.unparse(node) for node in imports if any((a.asname or a.name) in missing for a in node.names)]
