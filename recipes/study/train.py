"""Train and evaluate all variants of the study: do mixtures learn faster than plain GRPO, also on the same support?

    python -m recipes.study.train --processes 2          # from the repository root; stop and restart at will
    python -m recipes.study outputs/study/runs.jsonl     # write docs/study.md from the results so far

Each run trains nano on one CPU core, for one variant and one seed. Several shells may share the work.
"""

from typing import Any

from recipes.study.config import StudyConfig, parse
from recipes.study.running import run_study

DEFAULTS: dict[str, Any] = {"results": "outputs/study/runs.jsonl", "seeds": 5, "steps": 60, "learning_rate": 2e-4}


def main(config: StudyConfig) -> None:
    """Do the missing runs."""
    run_study(config)


if __name__ == "__main__":
    main(parse(DEFAULTS))
