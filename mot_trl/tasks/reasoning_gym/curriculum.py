"""Raise and lower the levels of Reasoning Gym's own curricula by the accuracies in the trainer's log."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mot_trl.tasks.reasoning_gym.generator import GENERATOR


class Curriculum:
    """The level of each dataset for each row of a stream: `stream(..., level=curriculum)`.

    Levels depend on the log alone, and change at row numbers that depend on the log's steps alone. So the same log
    gives the same rows: in every process, and after resuming from a checkpoint, whose log is read again. A dataset
    without a curriculum of its own keeps its settings.

    Args:
        start: Level to start at; 0 is the easiest.
        max_level: Highest level; by default the last of each dataset. Items of the last ones can be slow to make.
        raise_at: Mean accuracy, over `window` entries of the log, from which the level goes up by one.
        lower_at: Mean accuracy below which it goes down by one.
        window: Entries of the log from one change to the next.

    Raises:
        ValueError: The thresholds are not in order.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        *,
        start: int = 0,
        max_level: int | None = None,
        raise_at: float = 0.8,
        lower_at: float = 0.1,
        window: int = 10,
    ) -> None:
        """Start every dataset at the same level."""
        if not 0 <= lower_at < raise_at <= 1 or window <= 0 or start < 0:
            raise ValueError(
                f"lower_at={lower_at} must be below raise_at={raise_at}, both in [0, 1]; window={window} above 0; "
                f"start={start} not below 0."
            )
        self._raise_at, self._lower_at, self._window, self._start = raise_at, lower_at, window, start
        levels = {task: GENERATOR.levels(task) for task in tasks}
        tops = {task: count - 1 for task, count in levels.items() if count}
        self._tops = {task: top if max_level is None else min(top, max_level) for task, top in tops.items()}
        self.reset()

    def reset(self) -> None:
        """Forget the log."""
        self._recent: dict[str, deque[float]] = {task: deque(maxlen=self._window) for task in self._tops}
        # For each dataset, the rows at which its level changes, each with the level from there on.
        self._changes = {task: [(0, min(self._start, top))] for task, top in self._tops.items()}

    def __deepcopy__(self, _: object) -> "Curriculum":
        """Return itself: `datasets` copies what a stream is made with, and a copy would not see the log."""
        return self

    def __call__(self, task: str, row: int) -> int | None:
        """The level at a row of the stream; None for a dataset without a curriculum."""
        return next((level for start, level in reversed(self._changes.get(task, ())) if start <= row), None)

    def read(self, entry: Mapping[str, Any], rows_drawn: Callable[[int], int]) -> None:
        """Read an entry of the trainer's log; `rows_drawn` bounds the rows drawn from the stream by a step."""
        for task, recent in self._recent.items():
            accuracy = entry.get(f"{task}_accuracy")
            if not isinstance(accuracy, float):
                continue
            # Accuracies of an evaluation have other names, so only those of training get here.
            recent.append(accuracy)
            if len(recent) < self._window:
                continue
            mean = sum(recent) / len(recent)
            change = (mean >= self._raise_at) - (mean < self._lower_at)
            _, now = self._changes[task][-1]
            level = min(max(now + change, 0), self._tops[task])
            if level != now:
                # From a row that is certainly not drawn yet, so that all processes change at the same one.
                self._changes[task].append((rows_drawn(entry["step"]), level))
                recent.clear()
