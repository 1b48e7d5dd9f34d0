"""Load nano, the language model that ships with the package: no download needed."""

from pathlib import Path

import torch
from transformers import LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

NANO = Path(__file__).parent / "weights"
"""Checkpoint folder of the embedded model, written by `recipes/nano/pretrain.py`."""


def load_nano() -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Load the embedded model in float32, with its tokenizer; it solves the puzzles of `mot_trl.tasks.nano`.

    `NANO` is an ordinary checkpoint in bfloat16, so `AutoModelForCausalLM.from_pretrained(NANO)` works as well. Its
    model card says how it was trained and what it can do.
    """
    # Shipped in bfloat16 to halve the wheel; training on a CPU needs float32.
    model = LlamaForCausalLM.from_pretrained(NANO, dtype=torch.float32)
    return model, PreTrainedTokenizerFast.from_pretrained(NANO)
