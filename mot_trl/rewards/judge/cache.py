"""Verdicts kept in memory and in a sqlite file that several training processes may share."""

import os
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

_CHUNK = 500  # sqlite allows 999 variables in a statement on old builds


@dataclass
class VerdictCache:
    """Real verdicts by key. A file that cannot be read or written costs hits, never an exception.

    Each access opens the file anew, for about a tenth of a millisecond: so the cache may be used from any thread and
    event loop, after a fork, and by several processes at once.

    Args:
        path: the sqlite file, made where missing; None keeps verdicts in memory only.
        max_entries: verdicts held in memory; the oldest go first.
        patience: seconds to wait for another process's lock.
    """

    path: str | os.PathLike[str] | None = None
    max_entries: int = 200_000
    patience: float = 2.0
    errors: int = field(default=0, init=False)
    _memory: dict[str, float] = field(default_factory=dict, init=False)

    def get(self, keys: Iterable[str]) -> dict[str, float]:
        """The known verdicts among `keys`."""
        keys = list(dict.fromkeys(keys))
        found = {key: self._memory[key] for key in keys if key in self._memory}
        missing = [key for key in keys if key not in found]
        if self.path is None or not missing or not Path(self.path).exists():
            return found
        try:
            stored = self._read(missing)
        except (sqlite3.Error, OSError):
            self.errors += 1
            return found
        self._remember(stored)
        return found | stored

    def put(self, verdicts: Mapping[str, float]) -> None:
        """Keep `verdicts`, in one transaction."""
        self._remember(verdicts)
        if self.path is None or not verdicts:
            return
        try:
            Path(self.path).parent.mkdir(parents=True, exist_ok=True)
            with closing(self._connect()) as connection, connection:
                connection.execute("CREATE TABLE IF NOT EXISTS verdicts (key TEXT PRIMARY KEY, value REAL NOT NULL)")
                connection.executemany("INSERT OR IGNORE INTO verdicts VALUES (?, ?)", verdicts.items())
        except (sqlite3.Error, OSError):
            self.errors += 1

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path or ":memory:", timeout=self.patience)

    def _read(self, keys: list[str]) -> dict[str, float]:
        found: dict[str, float] = {}
        with closing(self._connect()) as connection:
            # Another process may have made the file, and not yet the table.
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'verdicts'").fetchone():
                return found
            for start in range(0, len(keys), _CHUNK):
                chunk = keys[start : start + _CHUNK]
                marks = ",".join("?" * len(chunk))
                rows = connection.execute(f"SELECT key, value FROM verdicts WHERE key IN ({marks})", chunk)
                # Whatever wrote the file, only a number in [0, 1] is a verdict.
                found |= {key: value for key, value in rows if isinstance(value, float) and 0 <= value <= 1}
        return found

    def _remember(self, verdicts: Mapping[str, float]) -> None:
        self._memory.update(verdicts)
        while len(self._memory) > self.max_entries:
            del self._memory[next(iter(self._memory))]

    def __getstate__(self) -> dict[str, object]:
        """Pickle the settings; the file keeps the verdicts."""
        return self.__dict__ | {"_memory": {}}
