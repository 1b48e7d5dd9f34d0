"""GRPO with mixtures of tokens on pictures: count the shapes that are drawn in them: `mot-trl train vlm_counting`.

    accelerate launch recipes/vlm_counting.py
    accelerate launch recipes/vlm_counting.py --use_peft --lora_target_modules all-linear

The pictures are made on the fly. The model sees them in the prompt and thinks in mixtures; any vision-language model
of docs/models.md will do. Qwen2.5-VL-3B-Instruct wants one GPU of 80 GB.
"""

import sys

from mot_trl.cli import main as mot_trl
from mot_trl.recipes.vlm_counting import DEFAULTS, main

__all__ = ["DEFAULTS", "main"]

if __name__ == "__main__":
    sys.exit(mot_trl(["train", "vlm_counting", *sys.argv[1:]]))
