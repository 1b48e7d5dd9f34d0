"""Teach ways to think, then train with GRPO: do mixtures win on tasks where width beats depth?

    python -m recipes.study.width.train --processes 2      # from the repository root; stop and restart at will

Each run takes one CPU core, for one way to think or one arm, and one seed. Several shells may share the work. The
first makes the model that all start from, which takes minutes.
"""

from typing import Any

from transformers import HfArgumentParser

from recipes.study.running import run_all
from recipes.study.width.config import WidthConfig, runs
from recipes.study.width.run import execute


def main(config: WidthConfig) -> None:
    """Do the missing runs."""
    run_all(config, runs(config), execute)


if __name__ == "__main__":
    parser: Any = HfArgumentParser(WidthConfig)  # ty: ignore[invalid-argument-type]
    main(*parser.parse_args_into_dataclasses())
