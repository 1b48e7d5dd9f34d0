"""Append-only JSON-lines files that survive being killed, and the samples of one evaluation arm in such a file."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock


class JsonLines:
    """A file of JSON objects, one per line, that any number of processes append to; its folder need not exist."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        # The operating system drops the lock with the process, so a killed writer blocks no other.
        self.lock = FileLock(f"{path}.lock")

    def read(self) -> list[dict[str, Any]]:
        """All complete lines."""
        text = self.path.read_text(encoding="utf-8") if self.path.is_file() else ""
        # What follows the last newline is empty, or a line whose writer was killed or has not finished.
        return [json.loads(line) for line in text.split("\n")[:-1]]

    def append(self, *rows: Mapping[str, Any]) -> None:
        """Add lines durably: once this returns, neither a kill nor a crash loses them."""
        with self.lock, self.path.open("ab+") as file:
            # A killed writer may have left half a line, which would spoil the next one; the last byte tells.
            if file.seek(0, os.SEEK_END) and file.seek(-1, os.SEEK_END) >= 0 and file.read(1) != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
            file.write(_lines(rows).encode())
            file.flush()
            os.fsync(file.fileno())


def check_settings(before: Mapping[str, Any], now: Mapping[str, Any], *, path: Path) -> None:
    """Refuse to add results to those at `path`, which were made with other settings.

    Raises:
        ValueError: The settings differ.
    """
    if changed := sorted(name for name in {*before, *now} if before.get(name) != now.get(name)):
        changes = "; ".join(f"{name} was {before.get(name)!r} and is {now.get(name)!r}" for name in changed)
        raise ValueError(f"{str(path)!r} holds results of other settings ({changes}); choose another path.")


def write_atomically(file: Path, text: str) -> None:
    """Write all or nothing: readers see the old file or the new one."""
    # Several processes may write the same file at once, so each has a draft of its own.
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(file)


class Sample(NamedTuple):
    """Completion number `sample` of dataset row `item`, graded. Nothing in it depends on when or where it was made.

    `reward` is None where the reward function could not judge, `tokens` counts the token that ended the completion
    too, and `ended` tells whether it ended by itself rather than at the length limit.
    """

    item: int
    sample: int
    reward: float | None
    answer: str | None
    tokens: int
    thinking_tokens: int
    closed: bool
    ended: bool
    text: str

    @property
    def correct(self) -> bool:
        """Whether the reward is at least 1."""
        return self.reward is not None and self.reward >= 1


class Records:
    """The samples of one arm: a folder with `samples.jsonl`, and all that they depend on in `settings.json`.

    Raises:
        ValueError: The folder holds samples made with other settings.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.file = JsonLines(folder / "samples.jsonl")
        # Through JSON, so that tuples compare equal to the lists they come back as.
        now, file = json.loads(json.dumps(settings)), folder / "settings.json"
        if file.is_file():
            check_settings(json.loads(file.read_text(encoding="utf-8")), now, path=folder)
        else:
            write_atomically(file, json.dumps(now, indent=2) + "\n")

    def read(self) -> list[Sample]:
        """All samples so far, by item and sample."""
        return sorted({(row["item"], row["sample"]): Sample(**row) for row in self.file.read()}.values())

    def append(self, samples: Iterable[Sample]) -> None:
        """Add samples durably."""
        self.file.append(*(sample._asdict() for sample in samples))

    def finish(self) -> None:
        """Sort the file, so that equal evaluations have equal bytes however their processes took turns."""
        # Locked, since a line appended while the draft is written would be lost with the old file.
        with self.file.lock:
            write_atomically(self.file.path, _lines(sample._asdict() for sample in self.read()))


def _lines(rows: Iterable[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)
