"""Reasoning Gym's own curricula, driven by the accuracy in the trainer's log: harder items where they are solved."""

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mot_trl.tasks.reasoning_gym.generator import GENERATOR


class Curriculum:
    """The level of each data set for each row of a stream: `stream(..., level=curriculum)`.

    Levels depend on the log alone, and take effect at row numbers that depend on the log's steps alone. So the same
    log gives the same rows: in every process, and after a checkpoint, whose log is read again. A data set without a
    curriculum of its own keeps its settings.

    Args:
        tasks: Names of the data sets.
        start: Level to start at; 0 is the easiest.
        max_level: Level not to go beyond; by default the last of each data set. The last ones can be slow to make.
        raise_at: Mean accuracy, over `window` entries of the log, from which the level goes up by one.
        lower_at: Mean accuracy below which it goes down by one.
        window: Entries of the log, from one change to the next.

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
        """Start every data set at the same level."""
        if not 0 <= lower_at < raise_at <= 1 or window <= 0 or start < 0:
            raise ValueError(
                f"lower_at={lower_at} must be below raise_at={raise_at}, both shares; window={window} above 0; "
                f"start={start} not below 0."
            )
        self._raise_at, self._lower_at, self._window, self._start = raise_at, lower_at, window, start
        tops = {task: GENERATOR.levels(task) - 1 for task in tasks}
        self._tops = {
            task: top if max_level is None else min(top, max_level) for task, top in tops.items() if top >= 0
        }
        self.reset()

    def reset(self) -> None:
        """Forget the log."""
        self._recent: dict[str, deque[float]] = {task: deque(maxlen=self._window) for task in self._tops}
        self._rows = {task: [0] for task in self._tops}
        self._levels = {task: [min(self._start, top)] for task, top in self._tops.items()}

    def __deepcopy__(self, _: object) -> "Curriculum":
        """Itself: `datasets` copies what a stream is made with, and a copy would not hear of the log."""
        return self

    def __call__(self, task: str, row: int) -> int | None:
        """The level at a row of the stream; None for a data set without a curriculum."""
        if task not in self._tops:
            return None
        return self._levels[task][bisect_right(self._rows[task], row) - 1]

    def read(self, entry: Mapping[str, Any], rows_drawn: Callable[[int], int]) -> None:
        """Take in one entry of the trainer's log.

        Args:
            entry: As in `TrainerState.log_history`: `step`, and `<task>_accuracy` for some data sets.
            rows_drawn: For a step, a bound on the rows that had been drawn from the stream by then.
        """
        for task, recent in self._recent.items():
            accuracy = entry.get(f"{task}_accuracy")
            if not isinstance(accuracy, float):
                continue
            recent.append(accuracy)
            if len(recent) < self._window:
                continue
            mean = sum(recent) / len(recent)
            change = (mean >= self._raise_at) - (mean < self._lower_at)
            level = min(max(self._levels[task][-1] + change, 0), self._tops[task])
            if level != self._levels[task][-1]:
                self._rows[task].append(rows_drawn(entry["step"]))
                self._levels[task].append(level)
                recent.clear()
