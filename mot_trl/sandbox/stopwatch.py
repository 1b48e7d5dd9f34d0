"""How much time a program has used: its own, not that of the queue for a processor."""

import contextlib
import os
import time

# Waiting for a processor is not the program's fault, but it must end.
PATIENCE = 5


class Stopwatch:
    """The program's own time: runs while an answer is awaited, less what the program waited for a processor."""

    def __init__(self, limit: float, parent: int, proc: int) -> None:
        """Count for the only child of the process `parent`.

        Args:
            limit: Seconds.
            parent: Its zygote.
            proc: An open /proc, or -1: then nothing is known of waiting for processors.
        """
        self._limit = limit
        self._parent = parent
        self._proc = proc
        self._waited = 0.0
        self._started: float | None = None
        self._queued_before: float | None = None

    def start(self) -> None:
        """Start counting."""
        if self._queued_before is None:
            self._queued_before = self._queued()
        self._started = time.monotonic()

    def stop(self) -> None:
        """Stop counting."""
        self._waited = self._wall()
        self._started = None

    def seconds(self) -> float:
        """The program's own time so far."""
        return max(0.0, self._wall() - max(0.0, self._queued() - (self._queued_before or 0.0)))

    def remaining(self) -> float:
        """Seconds left; 0 or less when time is up."""
        wall = self._wall()
        if wall < self._limit:
            return self._limit - wall
        return min(self._limit - self.seconds(), PATIENCE * self._limit - wall)

    def _wall(self) -> float:
        return self._waited + (0.0 if self._started is None else time.monotonic() - self._started)

    def _queued(self) -> float:
        with contextlib.suppress(OSError, ValueError, IndexError):
            # Looked up, as the zygote may know its child by a number of its own process list.
            (child,) = self._read(f"{self._parent}/task/{self._parent}/children").split()
            return int(self._read(f"{child}/schedstat").split()[1]) / 1e9
        return 0.0

    def _read(self, path: str) -> str:
        with open(os.open(path, os.O_RDONLY, dir_fd=self._proc)) as file:
            return file.read()
