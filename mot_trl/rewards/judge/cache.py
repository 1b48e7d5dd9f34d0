"""A cache of verdicts in memory and in a sqlite file that several training processes may share."""

import json
import os
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Anything may have written the file, and only a number in [0, 1] is a verdict.
_SELECT = """SELECT key, value FROM verdicts WHERE key IN (SELECT value FROM json_each(?))
             AND typeof(value) = 'real' AND value BETWEEN 0 AND 1"""


@dataclass
class VerdictCache:
    """Verdicts by key; a file that cannot be used costs hits, counted in `errors`, and never raises."""

    path: str | os.PathLike[str] | None = None  # created if missing; None keeps verdicts in memory only
    max_entries: int = 200_000  # in memory, where the oldest are dropped first
    lock_seconds: float = 2.0  # how long to wait for another process's lock
    errors: int = field(default=0, init=False)
    _memory: dict[str, float] = field(default_factory=dict, init=False)

    def get(self, keys: Iterable[str]) -> dict[str, float]:
        """The known verdicts among `keys`."""
        keys = set(keys)
        self._memory |= self._execute(_SELECT, [*(keys - self._memory.keys())])
        return {key: self._memory[key] for key in keys & self._memory.keys()}

    def put(self, verdicts: Mapping[str, float]) -> None:
        """Store `verdicts`, in one transaction."""
        self._memory |= verdicts
        self._execute("INSERT OR IGNORE INTO verdicts SELECT key, value FROM json_each(?)", verdicts)
        while len(self._memory) > self.max_entries:
            del self._memory[next(iter(self._memory))]

    def _execute(self, sql: str, parameter: Any) -> list[Any]:
        """The rows that `sql` gives for a JSON value; none where there is no file, or none that can be used."""
        if self.path is None:
            return []
        try:
            Path(self.path).parent.mkdir(parents=True, exist_ok=True)
            # Opened for each access (0.1 ms), as a connection works in one thread only and must not survive a fork.
            with closing(sqlite3.connect(self.path, timeout=self.lock_seconds)) as connection, connection:
                connection.execute("CREATE TABLE IF NOT EXISTS verdicts (key TEXT PRIMARY KEY, value REAL NOT NULL)")
                return connection.execute(sql, [json.dumps(parameter)]).fetchall()
        except (sqlite3.Error, OSError):
            self.errors += 1
            return []
