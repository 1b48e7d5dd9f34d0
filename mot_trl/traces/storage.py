"""Trace files on disk: written atomically, read back in the order of the steps."""

import itertools
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mot_trl.traces.schema import METADATA_KEY, SCHEMA, VERSION

FOLDER = "traces"

# `train_000050.parquet`, `eval_000100_1_process3.parquet`. Other files in the folder are the user's.
_NAME = re.compile(r"(?P<split>train|eval)_(?P<step>\d+)(_.*)?\.parquet")


def write_trace(table: pa.Table, path: Path, metadata: Mapping[str, Any]) -> None:
    """Write a table and its metadata to `path`, which only ever holds a complete file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    description = {METADATA_KEY: json.dumps({"version": VERSION, **metadata}).encode()}
    # Readers glob `*.parquet`, so they never see this name. A rename within a folder is atomic, also against SIGKILL.
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        pq.write_table(table.replace_schema_metadata(description), partial, compression="zstd")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def trace_files(run_dir: Path | str) -> list[Path]:
    """The trace files of a run, given by its folder or its `traces` folder, ordered by step.

    Raises:
        FileNotFoundError: There are none.
    """
    run_dir = Path(run_dir)
    folder = run_dir / FOLDER if (run_dir / FOLDER).is_dir() else run_dir
    paths = [path for *_, path in _trace_files(folder)]
    if not paths:
        raise FileNotFoundError(
            f"No traces in {folder}; train with `trace_steps` above 0, and give the run's `output_dir`."
        )
    return paths


def set_aside(folder: Path, *, after: int) -> Path | None:
    """Move the traces of steps greater than `after` into a new subfolder; returns it, or None if there are none.

    They are another run's, which started earlier in this folder or went on after the checkpoint that this one resumes.
    """
    late = [path for step, _, path in _trace_files(folder) if step > after]
    if not late:
        return None
    aside = next(path for count in itertools.count(1) if not (path := folder / f"earlier_{count}").exists())
    aside.mkdir()
    for path in late:
        path.replace(aside / path.name)
    return aside


def _trace_files(folder: Path) -> list[tuple[int, bool, Path]]:
    """Step, whether it is an evaluation (which comes after its step), and path of each trace file, sorted."""
    named = ((path, _NAME.fullmatch(path.name)) for path in folder.glob("*.parquet"))
    return sorted((int(match["step"]), match["split"] == "eval", path) for path, match in named if match)


def read_metadata(path: Path) -> dict[str, Any]:
    """The JSON object in a trace file's metadata.

    Raises:
        ValueError: The file is no trace, or of a newer version than this code reads.
    """
    described = pq.read_schema(path).metadata or {}
    if METADATA_KEY not in described:
        raise ValueError(f"{path} is a Parquet file, but not a trace: its metadata has no {METADATA_KEY.decode()!r}.")
    metadata = json.loads(described[METADATA_KEY])
    if metadata["version"] > VERSION:
        raise ValueError(
            f"{path} is of trace version {metadata['version']}, this mot_trl reads up to {VERSION}: update it."
        )
    return metadata


def load_traces(run_dir: Path | str) -> pa.Table:
    """All traces of a run, one row per completion, ordered by step; `.to_pandas()` converts to a data frame.

    Raises:
        FileNotFoundError: The run has no traces.
        ValueError: A file is not a trace, or of a newer version.
    """
    tables = []
    for path in trace_files(run_dir):
        read_metadata(path)
        table = pq.read_table(path)
        # A release may add columns anywhere without raising the version: those of an older file are null, and those
        # of a newer one are left out.
        for field in (field for field in SCHEMA if field.name not in table.column_names):
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
        tables.append(table.select(SCHEMA.names).replace_schema_metadata(None).cast(SCHEMA))
    return pa.concat_tables(tables)
