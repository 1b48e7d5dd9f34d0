"""Load nano, nano-soft or its twin, the language models that ship with the package: no download needed."""

from pathlib import Path

import torch
from transformers import LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

NANO = Path(__file__).parent / "weights"
"""Checkpoint folder of the embedded model, written by `recipes/nano/pretrain.py`."""

NANO_SOFT = Path(__file__).parent / "soft_weights"
"""Checkpoint folder of the model that thinks in mixtures, written by `recipes/nano/soft.py`."""

NANO_PATH = Path(__file__).parent / "path_weights"
"""Checkpoint folder of its twin, which thinks in ordinary tokens."""


def load_nano() -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Load the embedded model in float32, with its tokenizer; it solves the puzzles of `mot_trl.tasks.nano`.

    `NANO` is an ordinary checkpoint in bfloat16, so `AutoModelForCausalLM.from_pretrained(NANO)` works as well. Its
    model card says how it was trained and what it can do.
    """
    return _load(NANO)


def load_nano_soft() -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Load the embedded model that thinks in mixtures, in float32; it solves the puzzles of `mot_trl.tasks.width`.

    Its generation config carries the decoder that it was trained for, as `mixture`; `mot-trl generate` and
    `recipes/evaluate.py` use it when they are given the folder `NANO_SOFT`.
    """
    return _load(NANO_SOFT)


def load_nano_path() -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Load the twin of nano-soft, in float32: the same start, puzzles and training, but each step is one token."""
    return _load(NANO_PATH)


def _load(folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    # Shipped in bfloat16 to halve the wheel; training on a CPU needs float32.
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model, PreTrainedTokenizerFast.from_pretrained(folder)
