"""The file of results: a head with the settings, then one JSON line a run, written by any number of processes."""

import fcntl
import hashlib
import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

Line = dict[str, Any]


class Found(NamedTuple):
    """What a file of lines holds.

    Attributes:
        settings: What all runs have in common.
        lines: The runs, each under its arm and seed, in the order in which they ended.
    """

    settings: dict[str, Any]
    lines: dict[tuple[str, int], Line]


def read(path: Path | str) -> Found:
    """The runs so far; the beginning of a line that was being written is passed over.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not a study's.
    """
    whole = [line for line in Path(path).read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
    try:
        head, *runs = map(json.loads, whole)
        return Found(head["settings"], {(run["arm"], run["seed"]): run for run in runs})
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{str(path)!r} is no study's file: a line is not what recipes.study.train writes."
        ) from error


class Lines:
    """A file that runs add their lines to.

    Args:
        path: Made, with its folder, if it is not there.
        settings: What all runs have in common.

    Raises:
        ValueError: The file holds runs with other settings, or is not a study's.
    """

    def __init__(self, path: Path | str, settings: dict[str, Any]) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        settings = json.loads(json.dumps(settings))
        with self._alone():
            if not self.path.is_file() or not self.path.read_text(encoding="utf-8").strip():
                self._write({"settings": settings})
        before = self.read().settings
        if changed := sorted(name for name in {*before, *settings} if before.get(name) != settings.get(name)):
            told = "; ".join(f"{name} was {before.get(name)!r} and is {settings.get(name)!r}" for name in changed)
            raise ValueError(f"{str(self.path)!r} holds runs with other settings ({told}); give another file.")

    def read(self) -> Found:
        """The runs so far."""
        return read(self.path)

    def append(self, line: Line) -> None:
        """Add a run at once, so that being killed loses no run that was added before."""
        with self._alone():
            self._write(line)

    @contextmanager
    def claim(self, key: tuple[str, int]) -> Generator[bool]:
        """Whether a run is this process's to do: nobody has done it, nobody is doing it.

        A claim ends with the process that holds it, however that ends.
        """
        folder = self.path.with_name(f"{self.path.name}.claims")
        folder.mkdir(exist_ok=True)
        name = hashlib.sha256(repr(key).encode()).hexdigest()[:16]
        with (folder / name).open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            # Only now: another process may have ended it since the lines were last read.
            yield key not in self.read().lines

    @contextmanager
    def _alone(self) -> Generator[None]:
        with self.path.with_name(f"{self.path.name}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _write(self, line: Line) -> None:
        kept = self.path.read_bytes() if self.path.is_file() else b""
        with self.path.open("ab") as file:
            # What was being written when a process was killed.
            file.truncate(kept.rfind(b"\n") + 1)
            file.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
