"""How much time a program has used: its own, not that of the queue for a processor."""

import contextlib
import os
import time

# Waiting for a processor is not the program's fault, but it must end.
PATIENCE = 5


class Stopwatch:
    """The program's own time: runs while an answer is awaited, less what both processes waited for a processor."""

    def __init__(self, limit: float, child: int, proc: int) -> None:
        """Count for the process `child`.

        Args:
            limit: Seconds.
            child: The program's process.
            proc: An open /proc, or -1: then nothing is known of waiting for processors.
        """
        self._limit = limit
        self._tasks = (child, os.getpid())
        self._proc = proc
        self._waited = 0.0
        self._started: float | None = None
        self._queued_before = self._queued()

    def start(self) -> None:
        """Start counting."""
        self._started = time.monotonic()

    def stop(self) -> None:
        """Stop counting."""
        self._waited = self._wall()
        self._started = None

    def seconds(self) -> float:
        """The program's own time so far."""
        return max(0.0, self._wall() - (self._queued() - self._queued_before))

    def remaining(self) -> float:
        """Seconds left; 0 or less when time is up."""
        wall = self._wall()
        if wall < self._limit:
            return self._limit - wall
        return min(self._limit - self.seconds(), PATIENCE * self._limit - wall)

    def _wall(self) -> float:
        return self._waited + (0.0 if self._started is None else time.monotonic() - self._started)

    def _queued(self) -> float:
        total = 0.0
        for task in self._tasks:
            with contextlib.suppress(OSError, ValueError, IndexError):
                file = os.open(f"{task}/schedstat", os.O_RDONLY, dir_fd=self._proc)
                with open(file) as handle:
                    total += int(handle.read().split()[1]) / 1e9
        return total
