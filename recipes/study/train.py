"""The study: does thinking in mixtures learn faster than plain GRPO, and than plain GRPO on the same support?

    python -m recipes.study.train --processes 2
    python -m recipes.study outputs/study/runs.jsonl

The first trains the embedded model once an arm and seed, on CPU, one process a core; it may be stopped and started
again, and two shells may share the work. The second writes the page, at any time, from what there is.
"""

from typing import Any

from recipes.study.config import StudyConfig, parse
from recipes.study.running import run_study

DEFAULTS: dict[str, Any] = {"lines": "outputs/study/runs.jsonl", "seeds": 5, "steps": 60, "learning_rate": 2e-4}


def main(config: StudyConfig) -> None:
    """Do the runs that are not there yet."""
    run_study(config)


if __name__ == "__main__":
    main(parse(DEFAULTS))
