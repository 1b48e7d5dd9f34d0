"""Settings of the study's second part, and the list of its runs."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

from mot_trl.tasks.width.puzzle import WAYS
from recipes.study.config import TUNING_SEED
from recipes.study.width.arms import ALL_STEPS, ANSWER_TOKENS, ARMS, FIRST, Arm


@dataclass
class WidthConfig:
    """One study. What its runs depend on is written at the head of its results file."""

    results: str = field(default="outputs/width/runs.jsonl", metadata={"help": "Results file, one JSON line per run."})
    walker: str = field(
        default="outputs/width/walker",
        metadata={"help": "Folder of the model that all are taught from; made if it is missing."},
    )
    seeds: int = field(default=5, metadata={"help": "Seeds per arm, from 0."})
    taught_steps: int = field(default=600, metadata={"help": "Optimizer steps of supervised training."})
    taught_rows: int = field(default=32, metadata={"help": "Demonstrations per step, none of them repeated."})
    taught_rates: list[float] = field(
        default_factory=lambda: [3e-3, 6e-3],
        metadata={"help": "Learning rates of supervised training to choose from, for each way on a seed of its own."},
    )
    steps: int = field(default=15, metadata={"help": "Optimizer steps of GRPO."})
    rates: list[float] = field(
        default_factory=lambda: [5e-5, 2e-4],
        metadata={"help": "Learning rates of GRPO to choose from, for each arm on that seed."},
    )
    prompts: int = field(default=16, metadata={"help": "Prompts per step of GRPO."})
    generations: int = field(default=8, metadata={"help": "Completions per prompt."})
    items: int = field(default=288, metadata={"help": "Held-out items, families in turn, the same for all runs."})
    samples: int = field(default=8, metadata={"help": "Completions per held-out item."})
    processes: int = field(default=1, metadata={"help": "Runs in parallel, each on one thread."})

    def __post_init__(self) -> None:
        """Check the counts.

        Raises:
            ValueError: A count is too low for a meaningful page.
        """
        for name in (
            "seeds",
            "taught_steps",
            "taught_rows",
            "steps",
            "prompts",
            "items",
            "samples",
            "processes",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` is a count, so it must be at least 1, not {getattr(self, name)}.")
        if self.generations < 2:
            raise ValueError(f"`generations` makes a group to compare within: at least 2, not {self.generations}.")
        for name in ("taught_rates", "rates"):
            if not getattr(self, name):
                raise ValueError(f"`{name}` is empty; give at least one learning rate.")

    @property
    def settings(self) -> dict[str, Any]:
        """What the results depend on."""
        where = ("results", "walker", "seeds", "processes")
        return {name: value for name, value in asdict(self).items() if name not in where}

    @property
    def max_new_tokens(self) -> int:
        """Longest completion of the arm that thinks longest (tokens)."""
        return ALL_STEPS + ANSWER_TOKENS


class Run(NamedTuple):
    """A run: teach a way to think, or train an arm with GRPO.

    Attributes:
        subject: The name of the way or of the arm.
        rate: The learning rate that is tried out; None for the one that was chosen.
    """

    stage: Literal["taught", "grpo"]
    subject: str
    seed: int
    rate: float | None = None

    @property
    def name(self) -> str:
        """Its name in the results file."""
        return f"{self.stage} {self.subject}" + ("" if self.rate is None else f" at {self.rate:g}")

    @property
    def key(self) -> tuple[str, int]:
        """Identifies the run in a results file."""
        return self.name, self.seed


def trained_arms() -> tuple[list[Arm], list[Arm]]:
    """The arms that GRPO trains: a mixture and one arm of each way first, then the others."""
    trained = [arm for arm in ARMS if not arm.greedy]
    return [arm for arm in trained if arm.name in FIRST], [arm for arm in trained if arm.name not in FIRST]


def runs(config: WidthConfig) -> list[Run]:
    """All runs, in an order in which each finds what it needs, so that an unfinished study compares fewer seeds."""
    first, others = trained_arms()
    seeds = range(config.seeds)
    return [
        *(Run("taught", way, TUNING_SEED, rate) for rate in config.taught_rates for way in WAYS),
        *(Run("grpo", arm.name, TUNING_SEED, rate) for rate in config.rates for arm in (*first, *others)),
        *(run for seed in seeds for run in (*_taught(seed), *_trained(first, seed))),
        *(run for seed in seeds for run in _trained(others, seed)),
    ]


def _taught(seed: int) -> list[Run]:
    return [Run("taught", way, seed) for way in WAYS]


def _trained(arms: list[Arm], seed: int) -> list[Run]:
    return [Run("grpo", arm.name, seed) for arm in arms]
