"""Load a task's rows from the hub, or from JSON or Parquet on disk."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import Dataset, Features

_SUFFIXES = (".jsonl", ".json", ".parquet")


def question_features(*, tolerance: bool = False) -> Features:
    """The columns of a dataset of questions: `prompt`, `question` and `answer`, all text, and perhaps `tolerance`."""
    # Takes seconds to import, as below.
    import datasets

    text = datasets.Value("string")
    extra = {"tolerance": datasets.Value("float64")} if tolerance else {}
    return datasets.Features({"prompt": [{"role": text, "content": text}], "question": text, "answer": text} | extra)


def question_row(question: str, answer: Any, instruction: str) -> dict[str, Any]:
    """A row of a dataset of questions, each with one gold answer; `prompt` is one user message."""
    message = {"role": "user", "content": f"{question}\n\n{instruction}"}
    return {"prompt": [message], "question": question, "answer": answer}


def read_rows(
    split: str, path: str | Path | None, *, hub_id: str, config: str | None = None, columns: Collection[str] = ()
) -> Dataset:
    """The rows of `split`: the hub's, or those of a file or of a folder with `<split>.jsonl`.

    A file holds JSON lines, one JSON array (`.json`), or Parquet. A column that mixes types, which Arrow cannot store,
    becomes text; lists among other values make it a column of lists.

    Args:
        split: The hub's split, or the name of the file in `path`. A `path` that is a file is read whole, regardless.
        path: The file or folder; None for the hub.
        hub_id: The dataset on the hub, of which `config` is the configuration, if it has several.
        columns: Names that the rows must have.

    Raises:
        FileNotFoundError: `path` does not exist or lacks the split.
        ValueError: A line is not a JSON object (the message has its number), or a column is missing.
        ConnectionError: The hub is out of reach.
    """
    # Takes seconds to import, which a process that only grades need not spend.
    import datasets

    if path is not None:
        file = _file(split, Path(path).expanduser(), hub_id)
        is_parquet = file.suffix == ".parquet"
        rows = datasets.Dataset.from_parquet(str(file)) if is_parquet else datasets.Dataset.from_dict(_columns(file))
    else:
        try:
            rows = datasets.load_dataset(hub_id, config, split=split)
        except ConnectionError as error:
            raise ConnectionError(
                f"{hub_id} cannot be loaded from the hub: {error}. Give a .jsonl file, or a folder that holds "
                f"{split}.jsonl, as `path`, or as --data_path on the command line."
            ) from error
    missing = sorted(set(columns) - set(rows.column_names))
    if missing:
        raise ValueError(f"Rows of {hub_id} need the columns {sorted(columns)}; these lack {missing}.")
    return rows


def _file(split: str, path: Path, hub_id: str) -> Path:
    if path.is_file():
        return path
    if not path.exists():
        raise FileNotFoundError(
            f"`path` is {str(path)!r}, which does not exist; give a .jsonl file or a folder holding {split}.jsonl, "
            f"or leave `path` out to load {hub_id} from the hub."
        )
    files = [path / f"{split}{suffix}" for suffix in _SUFFIXES]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        splits = sorted({found.stem for found in path.iterdir() if found.suffix in _SUFFIXES})
        raise FileNotFoundError(
            f"`path` {str(path)!r} holds no {files[0].name}; choose a `split` among {splits}, or add that file, or "
            "give a file instead of the folder."
        )
    return file


def _columns(file: Path) -> dict[str, Any]:
    rows = _json_array(file) if file.suffix == ".json" else _json_lines(file)
    # An empty dataset has no columns, so it would be refused with a puzzling list of missing ones.
    if not rows:
        raise ValueError(f"{file} holds no rows.")
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: _column([row.get(name) for row in rows]) for name in names}


def _column(values: list[Any]) -> Any:
    import pyarrow

    try:
        return pyarrow.array(values)
    except (pyarrow.ArrowException, OverflowError):
        # One list makes the whole column one of lists, so that `5` and `["5"]` stay the same gold.
        if any(isinstance(value, list) for value in values):
            items = [value if isinstance(value, list) or value is None else [value] for value in values]
            return pyarrow.array([item and [_text(part) for part in item] for item in items])
        return pyarrow.array([_text(value) for value in values])


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _json_array(file: Path) -> list[dict]:
    try:
        rows = json.loads(file.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        # Many a file of JSON lines is called `.json`.
        if error.msg == "Extra data":
            return _json_lines(file)
        raise ValueError(f"{file} is not JSON: {error}.") from error
    if isinstance(rows, dict):
        return [rows]
    for number, row in enumerate(rows if isinstance(rows, list) else [rows]):
        if not isinstance(row, dict):
            raise ValueError(f"{file}, row {number} holds {row!r:.60}; each must be a JSON object.")
    return rows


def _json_lines(file: Path) -> list[dict]:
    rows = []
    # Some editors begin a file with a byte order mark.
    with file.open(encoding="utf-8-sig") as lines:
        # Not `str.splitlines`, which also splits at U+2028 and the like inside a string.
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"{file}, line {number} is not JSON: {error}.") from error
            if not isinstance(row, dict):
                raise ValueError(f"{file}, line {number} holds {row!r:.60}; each line must be a JSON object.")
            rows.append(row)
    return rows
