"""Load a task's rows from the hub, or from JSON lines on disk."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import Dataset

QUESTION_COLUMNS = ["prompt", "question", "answer"]


def question_row(question: str, answer: Any, instruction: str) -> dict[str, Any]:
    """A row of a dataset of questions, each with one gold answer; `prompt` is one user message."""
    message = {"role": "user", "content": f"{question}\n\n{instruction}"}
    return {"prompt": [message], "question": question, "answer": answer}


def read_rows(
    split: str, path: str | Path | None, *, hub_id: str, config: str | None = None, columns: Collection[str] = ()
) -> Dataset:
    """The rows of `split`: the hub's, or those of a `.jsonl` file or of a folder with `<split>.jsonl`.

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
        rows = datasets.Dataset.from_list(_json_lines(_file(split, Path(path).expanduser(), hub_id)))
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
    file = path / f"{split}.jsonl"
    if not file.is_file():
        splits = sorted(found.stem for found in path.glob("*.jsonl"))
        raise FileNotFoundError(f"`path` {str(path)!r} holds no {file.name}; choose a `split` among {splits}.")
    return file


def _json_lines(file: Path) -> list[dict]:
    rows = []
    with file.open(encoding="utf-8") as lines:
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
    # An empty dataset has no columns, so it would be refused with a puzzling list of missing ones.
    if not rows:
        raise ValueError(f"{file} holds no rows.")
    return rows
