"""Results of a study that nobody ran: random numbers in the shape of results."""

import json
import random
from pathlib import Path
from typing import Any

from recipes.study.config import Run, StudyConfig, runs
from recipes.study.variants import Variant, samplers


def write(path: Path, config: StudyConfig, *, failing: tuple[str, ...] = ()) -> Path:
    """A file with every run of a study."""
    written = [{"settings": config.settings}, *(result(run, config, failing=failing) for run in runs(config))]
    path.write_text("".join(json.dumps(each) + "\n" for each in written))
    return path


def result(
    run: Run, config: StudyConfig, *, failing: tuple[str, ...] = (), gain: float | None = None, trial: int = 0
) -> dict[str, Any]:
    """A run that improves by `gain`, by default the more the longer the variant's name."""
    made: dict[str, Any] = {"variant": run.variant.name, "seed": run.seed}
    if run.variant.name in failing:
        return made | {"error": "RuntimeError: probability tensor contains nan"}
    chance = random.Random(f"{run.key} {trial}")
    gain = (len(run.variant.name) / 100 if gain is None else gain) + chance.gauss(0, 0.02)
    rollouts = config.prompts * config.generations
    if run.variant.kind != "untrained":
        shares = [0.4 + gain * step / config.steps + chance.gauss(0, 0.02) for step in range(config.steps)]
        made["correct"] = [round(rollouts * min(1, share)) for share in shares]
        made |= {"seconds": [0.5 * (step + 1) for step in range(config.steps)], "candidates": [1.4, 1.2]}
    names = samplers() if run.variant.kind == "untrained" else run.variant.samplers
    made["evaluations"] = {name: evaluation(run.variant, config, chance, 0.4 + gain) for name in names}
    if run.seed < config.cross_seeds:
        made["cross"] = {name: round(chance.random(), 4) for name in samplers()}
    return made


def evaluation(variant: Variant, config: StudyConfig, chance: random.Random, share: float) -> dict[str, Any]:
    correct = [sum(chance.random() < share for _ in range(config.samples)) for _ in range(config.items)]
    return {"correct": correct, "thinking": 20 + len(variant.name) / 10, "closed": 0.98}
