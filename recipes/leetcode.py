"""GRPO with mixtures of tokens on LeetCodeDataset: programs, rewarded by their tests: `mot-trl train leetcode`.

    accelerate launch recipes/leetcode.py
    accelerate launch recipes/leetcode.py --experiment_name dirichlet --use_peft --lora_target_modules all-linear

The defaults are MoT-G's and want one GPU of 80 GB. The programs run in `mot_trl.sandbox`, on Linux;
`python -m mot_trl.sandbox --check` says how well it can hold them on your machine.
"""

import sys

from mot_trl.cli import main as mot_trl
from mot_trl.recipes.leetcode import DEFAULTS, main

__all__ = ["DEFAULTS", "main"]

if __name__ == "__main__":
    sys.exit(mot_trl(["train", "leetcode", *sys.argv[1:]]))
