"""How much time a program has taken itself, in total and in one test."""

import contextlib
import os
import time
from dataclasses import dataclass

from mot_trl.sandbox.config import PATIENCE

_WORTH_A_LOOK = 0.05  # seconds below which the kernel is not asked who waited for what


@dataclass
class Stopwatch:
    """The program's own time: while an answer is awaited, less what it waited for a CPU."""

    limit: float  # seconds for all laps (tests) together
    lap_limit: float  # seconds for each lap
    parent: int  # the zygote, whose youngest child is the program's process
    proc: int  # an open /proc, or -1 if waiting for a CPU cannot be measured
    _waited: float = 0.0
    _started: float | None = None
    _lap_wall: float = 0.0
    _lap_seconds: float = 0.0

    def start(self) -> None:
        """Start counting."""
        self._started = time.monotonic()

    def stop(self) -> None:
        """Stop counting."""
        self._waited = self._wall()
        self._started = None

    def lap(self) -> None:
        """Begin another lap."""
        self._lap_wall, self._lap_seconds = self._wall(), self.seconds()

    def seconds(self) -> float:
        """The program's own time so far."""
        wall = self._wall()
        if wall < _WORTH_A_LOOK:
            return wall
        computed, queued = self._cpu_seconds()
        # Some of the queueing was before the first start, so `wall - queued` can be too little; `computed` cannot be
        # too much but for several threads, so `wall` bounds it.
        return min(wall, max(computed, wall - queued))

    def remaining(self) -> float:
        """Seconds left; 0 or less when time is up."""
        wall = self._wall()
        lap_wall = wall - self._lap_wall
        # While even the wall clock is within both limits, the program's own time is, too.
        if (left := min(self.limit - wall, self.lap_limit - lap_wall)) > 0:
            return left
        seconds = self.seconds()
        own = min(self.limit - seconds, self.lap_limit - (seconds - self._lap_seconds))
        return min(own, PATIENCE * self.limit - wall, PATIENCE * self.lap_limit - lap_wall)

    def _wall(self) -> float:
        return self._waited + (0.0 if self._started is None else time.monotonic() - self._started)

    def _cpu_seconds(self) -> tuple[float, float]:
        """Seconds the process has had a CPU, and seconds it has waited for one; zeros if unknown."""
        with contextlib.suppress(OSError, ValueError):
            # Looked up, as the zygote may know its child by a number of its own process list.
            *_, child = self._read(f"{self.parent}/task/{self.parent}/children").split()
            computed, queued, _ = map(int, self._read(f"{child}/schedstat").split())
            return computed / 1e9, queued / 1e9
        return 0.0, 0.0

    def _read(self, path: str) -> str:
        with open(os.open(path, os.O_RDONLY, dir_fd=self.proc)) as file:
            return file.read()
