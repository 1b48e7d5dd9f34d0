"""GRPO with mixtures of tokens on Reasoning Gym: `mot-trl train reasoning_gym`.

    accelerate launch recipes/reasoning_gym.py --suite ten
    accelerate launch recipes/reasoning_gym.py --task maze --experiment_name dirichlet --use_peft

Defaults: MoT-G's (arXiv:2509.21482), for one GPU of 80 GB. Held-out items give `eval_<task>_accuracy` in the log.
"""

import sys

from mot_trl.cli import main as mot_trl
from mot_trl.recipes.reasoning_gym import DEFAULTS, main

__all__ = ["DEFAULTS", "main"]

if __name__ == "__main__":
    sys.exit(mot_trl(["train", "reasoning_gym", *sys.argv[1:]]))
