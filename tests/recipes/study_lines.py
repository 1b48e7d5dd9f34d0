"""Lines of a study that nobody ran: numbers with the shape of results."""

import json
import random
from pathlib import Path
from typing import Any

from recipes.study.arms import PLAIN, Arm, law_of, laws
from recipes.study.config import Job, StudyConfig, jobs


def write(path: Path, config: StudyConfig, *, failing: tuple[str, ...] = ()) -> Path:
    """A file with every run of a study."""
    written = [{"settings": config.settings}, *(line(job, config, failing=failing) for job in jobs(config))]
    path.write_text("".join(json.dumps(each) + "\n" for each in written))
    return path


def line(
    job: Job, config: StudyConfig, *, failing: tuple[str, ...] = (), gain: float | None = None, trial: int = 0
) -> dict[str, Any]:
    """A run that climbs by `gain`, or the further the longer the arm's name."""
    made: dict[str, Any] = {"arm": job.arm.name, "seed": job.seed}
    if job.arm.name in failing:
        return made | {"error": "RuntimeError: probability tensor contains nan"}
    chance = random.Random(f"{job.key} {trial}")
    gain = (len(job.arm.name) / 100 if gain is None else gain) + chance.gauss(0, 0.02)
    rollouts = config.prompts * config.generations
    if job.arm.kind != "untrained":
        shares = [0.4 + gain * step / config.steps + chance.gauss(0, 0.02) for step in range(config.steps)]
        made["correct"] = [round(rollouts * min(1, share)) for share in shares]
        made |= {"seconds": [0.5 * (step + 1) for step in range(config.steps)], "candidates": [1.4, 1.2]}
    names = (
        laws() if job.arm.kind == "untrained" else dict.fromkeys([law_of(job.arm.settings), PLAIN, job.arm.control])
    )
    made["evaluations"] = {name: evaluation(job.arm, config, chance, 0.4 + gain) for name in names}
    if job.seed < config.cross_seeds:
        made["cross"] = {name: round(chance.random(), 4) for name in laws()}
    return made


def evaluation(arm: Arm, config: StudyConfig, chance: random.Random, share: float) -> dict[str, Any]:
    correct = [sum(chance.random() < share for _ in range(config.samples)) for _ in range(config.items)]
    return {"correct": correct, "thinking": 20 + len(arm.name) / 10, "closed": 0.98}
