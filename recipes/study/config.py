"""What a study is: how much is trained, on what it is measured, and where its lines go."""

from dataclasses import asdict, dataclass, field
from typing import Any

from transformers import HfArgumentParser

from mot_trl.tasks import nano
from recipes.study.arms import Arm, study_arms, tuning_arms, untrained_arm

TUNING_SEED = 1_000
"""Of the runs that the learning rate was chosen by; the study's own seeds count from 0."""


@dataclass
class StudyConfig:
    """One study; all of it but where and by how many it is run is written at the head of the lines."""

    lines: str = field(default="outputs/study/runs.jsonl", metadata={"help": "File of results, one JSON line a run."})
    model: str | None = field(default=None, metadata={"help": "Folder of the model; by default the embedded one."})
    tasks: list[str] = field(
        default_factory=lambda: list(nano.TASKS), metadata={"help": "Families of nano's puzzles."}
    )
    arms: list[str] = field(default_factory=list, metadata={"help": "Only these arms; by default all."})
    seeds: int = field(default=5, metadata={"help": "Seeds of each arm, from 0."})
    steps: int = field(default=60, metadata={"help": "Optimiser steps of a run."})
    prompts: int = field(default=16, metadata={"help": "Prompts in a step, none of them seen twice in a run."})
    generations: int = field(default=8, metadata={"help": "Completions of a prompt."})
    learning_rate: float = field(default=2e-4, metadata={"help": "Constant; AdamW as TRL has it."})
    max_new_tokens: int = field(default=64, metadata={"help": "Longest completion, in tokens."})
    items: int = field(default=192, metadata={"help": "Held-out items, the same for all."})
    samples: int = field(default=8, metadata={"help": "Completions of a held-out item."})
    cross_seeds: int = field(default=1, metadata={"help": "Seeds whose models are tried under every law."})
    cross_items: int = field(
        default=96, metadata={"help": "At most so many items in such a trial, completed once each."}
    )
    processes: int = field(default=1, metadata={"help": "Runs side by side, each on one thread."})

    def __post_init__(self) -> None:
        """Refuse what would end in an empty or misleading page."""
        for name in ("seeds", "steps", "prompts", "items", "samples", "processes"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` is a count, so it must be at least 1, not {getattr(self, name)}.")
        if self.generations < 2:
            raise ValueError(f"`generations` makes a group to compare within: at least 2, not {self.generations}.")
        if unknown := sorted(set(self.arms) - {arm.name for arm in self.all_arms}):
            raise ValueError(f"Unknown arms {unknown}; choose among {[arm.name for arm in self.all_arms]}.")

    @property
    def all_arms(self) -> list[Arm]:
        """All that there are, beside the comparison the untrained model and the learning rates that were tried."""
        return [untrained_arm(), *tuning_arms(), *study_arms()]

    @property
    def settings(self) -> dict[str, Any]:
        """All that the lines depend on."""
        where = ("lines", "arms", "seeds", "processes")
        return {name: value for name, value in asdict(self).items() if name not in where}


@dataclass(frozen=True)
class Job:
    """One run: an arm and a seed."""

    arm: Arm
    seed: int

    @property
    def key(self) -> tuple[str, int]:
        """What tells its line from others."""
        return self.arm.name, self.seed


def jobs(config: StudyConfig) -> list[Job]:
    """All runs, in order: every arm with the first seed, then every arm with the next."""
    chosen = [arm for arm in config.all_arms if not config.arms or arm.name in config.arms]
    once = [
        Job(arm, 0 if arm.kind == "untrained" else TUNING_SEED)
        for arm in chosen
        if arm.kind in ("untrained", "tuning")
    ]
    compared = [arm for arm in chosen if arm.kind not in ("untrained", "tuning")]
    return [*once, *(Job(arm, seed) for seed in range(config.seeds) for arm in compared)]


def parse(defaults: dict[str, Any]) -> StudyConfig:
    """Read the command line over a recipe's defaults."""
    parser: Any = HfArgumentParser(StudyConfig)  # ty: ignore[invalid-argument-type]
    parser.set_defaults(**defaults)
    (config,) = parser.parse_args_into_dataclasses()
    return config
