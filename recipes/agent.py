"""GRPO with mixtures of tokens between calls of tools: `mot-trl train agent`.

    python recipes/agent.py                                        # guess a number with hints
    python recipes/agent.py --agent calculator
    python recipes/agent.py --experiment_name vanilla              # plain GRPO, through the same loop
    accelerate launch recipes/agent.py --agent calculator --model_name_or_path Qwen/Qwen3-1.7B --bf16 \\
        --start_text "<think>" --max_mixture_tokens 512 --max_completion_length 4096 --learning_rate 1e-6 \\
        --per_device_train_batch_size 8 --gradient_accumulation_steps 8 --gradient_checkpointing --max_steps 300

Without a model, nano, which comes with the package, first imitates conversations with the tools, some careful and some
careless; GRPO finds out which pay.
"""

import sys

from mot_trl.cli import main as mot_trl
from mot_trl.recipes.agent import DEFAULTS, main

__all__ = ["DEFAULTS", "main"]

if __name__ == "__main__":
    sys.exit(mot_trl(["train", "agent", *sys.argv[1:]]))
