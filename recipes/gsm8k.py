"""GRPO with mixtures of tokens on GSM8K: `mot-trl train gsm8k`.

    accelerate launch recipes/gsm8k.py
    accelerate launch recipes/gsm8k.py --experiment_name dirichlet --use_peft --lora_target_modules all-linear
    accelerate launch recipes/gsm8k.py --judge MODEL --judge_base_url http://localhost:8000/v1

The defaults are those of MoT-G (arXiv:2509.21482) for Qwen2.5-1.5B-Instruct, which wants one GPU of 80 GB. On two
CPU cores, SmolLM2-135M-Instruct with `--num_generations 8 --per_device_train_batch_size 8 --max_mixture_tokens 40
--max_completion_length 100` took 8 to 33 s a step; thinking was closed in half the completions, then in all, for tags
alone (0.25, then 0.5 of them; nothing solved in three steps). With LoRA and `dirichlet`, 64 tokens, two steps took
24 and 21 s. Without a budget that model never closes its thinking, earns nothing, and so learns nothing.
"""

import sys

from mot_trl.cli import main as mot_trl
from mot_trl.recipes.gsm8k import DEFAULTS, main

__all__ = ["DEFAULTS", "main"]

if __name__ == "__main__":
    sys.exit(mot_trl(["train", "gsm8k", *sys.argv[1:]]))
