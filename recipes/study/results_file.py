"""The results file of a study: the settings, then one JSON line per run, appended by any number of processes."""

import hashlib
import json
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from mot_trl.evaluation.records import JsonLines, check_settings

Result = dict[str, Any]


class Stored(NamedTuple):
    """Contents of a results file.

    Attributes:
        settings: What all runs have in common.
        results: The runs by variant name and seed, in the order in which they ended.
    """

    settings: dict[str, Any]
    results: dict[tuple[str, int], Result]


def read(path: Path | str) -> Stored:
    """Read the runs so far, without a line that is being written.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not a results file.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no file {str(path)!r}.")
    try:
        head, *runs = JsonLines(Path(path)).read()
        return Stored(head["settings"], {(run["variant"], run["seed"]): run for run in runs})
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{str(path)!r} is no results file: a line differs from what recipes.study.train writes."
        ) from error


class ResultsFile:
    """A results file to append runs to.

    Args:
        path: The file; created, with its folder, if missing.
        settings: What all runs have in common.

    Raises:
        ValueError: The file holds runs with other settings, or is not a results file.
    """

    def __init__(self, path: Path | str, settings: dict[str, Any]) -> None:
        self.lines = JsonLines(Path(path))
        settings = json.loads(json.dumps(settings))
        # Several processes start at once, and only one may write the head.
        with self.lines.lock:
            if not self.lines.read():
                self.lines.append({"settings": settings})
        check_settings(self.read().settings, settings, path=self.lines.path)

    def read(self) -> Stored:
        """The runs so far."""
        return read(self.lines.path)

    def append(self, result: Result) -> None:
        """Add a run durably."""
        self.lines.append(result)

    @contextmanager
    def claim(self, key: tuple[str, int]) -> Generator[bool]:
        """Claim a run for this process; yields False if another process has it, or it is done.

        The claim ends with the process, however that ends.
        """
        name = hashlib.sha256(repr(key).encode()).hexdigest()[:16]
        folder = self.lines.path.with_name(f"{self.lines.path.name}.claims")
        folder.mkdir(exist_ok=True)
        try:
            held = FileLock(folder / name).acquire(blocking=False)
        except Timeout:
            yield False
            return
        with held:
            # Read only now: another process may have finished the run and given its claim up just before.
            yield key not in self.read().results
