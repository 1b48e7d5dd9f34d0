"""Mixtures of Reasoning Gym's datasets, and settings with which each makes items in reasonable time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Part:
    """One dataset of a mixture: its `weight` is relative to the other parts, its `config` goes over that of `TAMED`.

    Raises:
        ValueError: The weight is not above 0, or the settings hold `seed` or `size`.
    """

    task: str
    weight: float = 1.0
    config: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the arguments."""
        if not self.weight > 0:
            raise ValueError(f"The weight of {self.task} is {self.weight}; give one above 0, or leave it out.")
        if taken := sorted({"seed", "size"} & set(self.config)):
            raise ValueError(f"{taken} of {self.task} are those of the whole; give them to `load`.")

    @property
    def settings(self) -> dict[str, Any]:
        """`config` over the settings of `TAMED`."""
        return {**TAMED.get(self.task, {}), **self.config}


TAMED: dict[str, dict[str, Any]] = {
    # With boards of 3 to 5, the generator never ends; with 4 boxes and more, it takes up to seconds.
    "sokoban": {"min_w": 6, "max_w": 6, "min_h": 6, "max_h": 6, "min_boxes": 1, "max_boxes": 2},
    "futoshiki": {"max_board_size": 5},
    # With two pieces of a color, 1.8 s an item, and up to 11 s.
    "knight_swap": {"min_pieces": 1, "max_pieces": 1},
}
"""Settings for datasets that would otherwise take up to seconds an item."""

FIVE = ("shortest_path", "family_relationships", "number_sequence", "maze", "sokoban")
TEN = ("maze", "emoji_mystery", "mini_sudoku", "family_relationships", "number_sequence", "acre",
       "color_cube_rotation", "graph_color", "shortest_path", "prime_factorization")  # fmt: skip

# Those of MoT-G (arXiv:2509.21482), appendix: seed 42, 10,000 items, of maze 5,000.
_SETTINGS: dict[str, dict[str, Any]] = {
    "family_relationships": {"min_family_size": 8, "max_family_size": 12},
    "shortest_path": {"p_blocked": 0.1, "min_rows": 3, "min_cols": 3},
}

SUITES: dict[str, tuple[Part, ...]] = {
    "five": tuple(Part(task, config=_SETTINGS.get(task, {})) for task in FIVE),
    # The paper's maze has half as many items as each of the others.
    "ten": tuple(Part(task, 0.5 if task == "maze" else 1.0, _SETTINGS.get(task, {})) for task in TEN),
}
"""`five`: paths, kinship, sequences, mazes, sokoban. `ten`: the datasets and settings of MoT-G (arXiv:2509.21482)."""

TaskMixture = str | Sequence[str | Part] | Mapping[str, float]


def parts(mixture: TaskMixture, config: Mapping[str, Any]) -> tuple[Part, ...]:
    """The parts of a mixture: of a suite's or dataset's name, several names or parts, or a weight for each name.

    Raises:
        ValueError: `config` is given for several datasets, or one of them comes twice, or there is none.
    """
    if isinstance(mixture, str) and mixture not in SUITES:
        return (Part(mixture, config=config),)
    if config:
        raise ValueError(f"{sorted(config)} can be settings of one dataset only; give each `Part` its own.")
    if isinstance(mixture, str):
        return SUITES[mixture]
    if isinstance(mixture, Mapping):
        named = [Part(task, weight) for task, weight in mixture.items()]
    else:
        named = [part if isinstance(part, Part) else Part(part) for part in mixture]
    tasks = [part.task for part in named]
    if not tasks or len(set(tasks)) < len(tasks):
        raise ValueError(f"A mixture needs datasets, each once; this one has {tasks}.")
    return tuple(named)
