"""Settings of a study, and the list of its runs."""

from dataclasses import asdict, dataclass, field
from typing import Any

from transformers import HfArgumentParser

from mot_trl.tasks import nano
from recipes.study.variants import Variant, study_variants, tuning_variants, untrained_variant

TUNING_SEED = 1_000
"""Seed of the runs that chose the learning rate; the compared runs have seeds from 0."""


@dataclass
class StudyConfig:
    """One study. What its runs depend on is written at the head of its results file."""

    results: str = field(
        default="outputs/study/runs.jsonl",
        metadata={"help": "Results file, one JSON line per run.", "aliases": ["--lines"]},
    )
    model: str | None = field(default=None, metadata={"help": "Folder of the model; by default nano."})
    tasks: list[str] = field(default_factory=lambda: list(nano.TASKS), metadata={"help": "Families of puzzles."})
    variants: list[str] = field(
        default_factory=list, metadata={"help": "Only these variants; by default all.", "aliases": ["--arms"]}
    )
    seeds: int = field(default=5, metadata={"help": "Seeds per variant, from 0."})
    steps: int = field(default=60, metadata={"help": "Optimizer steps per run."})
    prompts: int = field(default=16, metadata={"help": "Prompts per step, none seen twice in a run."})
    generations: int = field(default=8, metadata={"help": "Completions per prompt."})
    learning_rate: float = field(default=2e-4, metadata={"help": "Constant, for TRL's default AdamW."})
    max_new_tokens: int = field(default=64, metadata={"help": "Longest completion, in tokens."})
    items: int = field(default=192, metadata={"help": "Held-out items, the same for all runs."})
    samples: int = field(default=8, metadata={"help": "Completions per held-out item."})
    cross_seeds: int = field(default=1, metadata={"help": "Seeds whose models are evaluated under every sampler."})
    cross_items: int = field(
        default=96, metadata={"help": "Most items of an evaluation under every sampler, one completion each."}
    )
    processes: int = field(default=1, metadata={"help": "Runs in parallel, each on one thread."})

    def __post_init__(self) -> None:
        """Check counts and names.

        Raises:
            ValueError: A count is too low for a meaningful page, or a variant is unknown.
        """
        for name in ("seeds", "steps", "prompts", "items", "samples", "processes"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` is a count, so it must be at least 1, not {getattr(self, name)}.")
        if self.generations < 2:
            raise ValueError(f"`generations` makes a group to compare within: at least 2, not {self.generations}.")
        if unknown := sorted(set(self.variants) - {variant.name for variant in self.all_variants}):
            names = [variant.name for variant in self.all_variants]
            raise ValueError(f"Unknown variants {unknown}; choose among {names}.")

    @property
    def all_variants(self) -> list[Variant]:
        """The untrained model, the learning rates tried, and the variants that are compared."""
        return [untrained_variant(), *tuning_variants(), *study_variants()]

    @property
    def settings(self) -> dict[str, Any]:
        """What the results depend on."""
        where = ("results", "variants", "seeds", "processes")
        return {name: value for name, value in asdict(self).items() if name not in where}


@dataclass(frozen=True)
class Run:
    """A variant to train with a seed."""

    variant: Variant
    seed: int

    @property
    def key(self) -> tuple[str, int]:
        """Identifies the run in a results file."""
        return self.variant.name, self.seed


def runs(config: StudyConfig) -> list[Run]:
    """All runs: those without a seed of the study first, then all variants with seed 0, with seed 1 ..."""
    chosen = [each for each in config.all_variants if not config.variants or each.name in config.variants]
    once = [variant for variant in chosen if variant.kind in ("untrained", "tuning")]
    # Seed by seed, so that an unfinished study compares all variants on fewer seeds.
    return [
        *(Run(variant, 0 if variant.kind == "untrained" else TUNING_SEED) for variant in once),
        *(Run(variant, seed) for seed in range(config.seeds) for variant in chosen if variant not in once),
    ]


def parse(defaults: dict[str, Any], arguments: list[str] | None = None) -> StudyConfig:
    """Read the command line, by default the process's, over a recipe's defaults."""
    parser: Any = HfArgumentParser(StudyConfig)  # ty: ignore[invalid-argument-type]
    parser.set_defaults(**defaults)
    (config,) = parser.parse_args_into_dataclasses(arguments)
    return config
