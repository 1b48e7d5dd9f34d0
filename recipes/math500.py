"""GRPO with mixtures of tokens on MATH's training problems, evaluated on MATH-500: `mot-trl train math500`.

    accelerate launch recipes/math500.py --eval_strategy steps --eval_steps 50
    accelerate launch recipes/math500.py --data_path FOLDER

FOLDER holds train.jsonl (`problem`, `solution`) and, to evaluate, test.jsonl (`problem`, `answer`). The rewards need
the extra `math`. The defaults are MoT-G's, which want one GPU of 80 GB, with room for longer thoughts.
"""

import sys

from mot_trl.cli import main as mot_trl
from mot_trl.recipes.math500 import DEFAULTS, main

__all__ = ["DEFAULTS", "main"]

if __name__ == "__main__":
    sys.exit(mot_trl(["train", "math500", *sys.argv[1:]]))
