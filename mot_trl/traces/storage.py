"""Trace files on disk: written whole or not at all, read back in the order of the steps."""

import itertools
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mot_trl.traces.schema import METADATA_KEY, SCHEMA, VERSION

FOLDER = "traces"


def write_trace(table: pa.Table, path: Path, metadata: Mapping[str, Any]) -> None:
    """Write a table and its metadata to `path`, which exists only once it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    description = {METADATA_KEY: json.dumps({"version": VERSION, **metadata}).encode()}
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        pq.write_table(table.replace_schema_metadata(description), partial, compression="zstd")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def trace_files(run_dir: Path | str) -> list[Path]:
    """The trace files of a run, or of its `traces` folder itself, by step.

    Raises:
        FileNotFoundError: There are none.
    """
    run_dir = Path(run_dir)
    folder = run_dir / FOLDER if (run_dir / FOLDER).is_dir() else run_dir
    named = [path for path in folder.glob("*.parquet") if path.stem.startswith(("train_", "eval_"))]
    # An evaluation comes after the step of its number.
    paths = sorted(named, key=lambda path: (path.stem.split("_")[1], path.stem.startswith("eval_"), path.stem))
    if not paths:
        raise FileNotFoundError(
            f"No traces in {folder}; train with `trace_steps` above 0, and give the run's `output_dir`."
        )
    return paths


def set_aside(folder: Path, *, after: int) -> Path | None:
    """Move the traces of steps greater than `after` into a folder of their own, whose path is returned; None without.

    A run that begins, or goes on from a checkpoint, would otherwise be read together with what another left there.
    """
    late = [path for path in folder.glob("*.parquet") if _number(path) > after]
    if not late:
        return None
    aside = next(path for count in itertools.count(1) if not (path := folder / f"earlier_{count}").exists())
    aside.mkdir()
    for path in late:
        path.replace(aside / path.name)
    return aside


def _number(path: Path) -> int:
    split, number, *_ = *path.stem.split("_"), ""
    return int(number) if split in ("train", "eval") and number.isdecimal() else -1


def read_metadata(path: Path) -> dict[str, Any]:
    """The JSON object in a trace file's metadata.

    Raises:
        ValueError: The file holds no trace, or one of a newer version than this code reads.
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
    """All traces of a run, one row a completion, by step; `.to_pandas()` makes a data frame of them.

    Raises:
        FileNotFoundError: The run has no traces.
        ValueError: A file is not a trace, or of a newer version.
    """
    tables = []
    for path in trace_files(run_dir):
        read_metadata(path)
        table = pq.read_table(path)
        # A file of a later minor release may have columns more, in its own place.
        tables.append(table.select(SCHEMA.names).replace_schema_metadata(None).cast(SCHEMA))
    return pa.concat_tables(tables)
