"""Make the embedded model from nothing: demonstrations of careful and careless thinking about small puzzles.

    OMP_NUM_THREADS=1 python -m recipes.nano.pretrain               # writes mot_trl/nano
    OMP_NUM_THREADS=1 python -m recipes.nano.pretrain outputs/nano  # elsewhere

It learns the careful ways first, and at last their mixture with the careless ones. One core is faster than
two with so small a model. The same bytes each time on one machine.
"""

import sys
import time
from itertools import chain, islice
from pathlib import Path

import torch

from mot_trl.evaluation.quick import evaluate_accuracy
from mot_trl.tasks import nano
from mot_trl.tasks.nano.model import NANO, new_nano
from recipes.nano import model_card as nano_card
from recipes.nano import pretraining
from recipes.nano.demonstrations import CAREFUL, demonstrations

SEED, BATCH_SIZE, STEPS, CAREFUL_STEPS = 0, 128, 1_700, 1_300
HELD_OUT = 900


def main(folder: Path = NANO, *, steps: int = STEPS, careful_steps: int = CAREFUL_STEPS) -> None:
    """Train, evaluate_accuracy, and write the checkpoint with its card."""
    torch.manual_seed(SEED)
    model, tokenizer = new_nano()
    careful = demonstrations(seed=SEED, ways=CAREFUL)
    pairs = chain(islice(careful, careful_steps * BATCH_SIZE), demonstrations(seed=SEED))
    rows = pretraining.batches(pairs, tokenizer, batch_size=BATCH_SIZE)
    pretraining.pretrain(model, rows, steps=steps, learning_rate=4e-3)
    model = model.bfloat16().float()  # as it is shipped
    cpu_minutes = time.process_time() / 60
    held_out = list(nano.load(size=HELD_OUT, split="test"))
    nano_card.save(
        model,
        tokenizer,
        folder,
        measured=evaluate_accuracy(model, tokenizer, held_out, nano.correct_answer),
        rows=HELD_OUT,
        command="OMP_NUM_THREADS=1 python -m recipes.nano.pretrain",
        cpu_minutes=cpu_minutes,
    )


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
