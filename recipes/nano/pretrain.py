"""Pretrain nano from scratch on demonstrations of careful and careless reasoning about small puzzles.

    OMP_NUM_THREADS=1 python -m recipes.nano.pretrain               # overwrites mot_trl/tasks/nano/weights
    OMP_NUM_THREADS=1 python -m recipes.nano.pretrain outputs/nano  # writes to another folder

Run it from the repository root. It takes about 10 minutes of one core; one thread is faster than two for a model this
small. A machine reproduces its own weights bit for bit.
"""

import argparse
import time
from itertools import chain, islice
from pathlib import Path

import torch

from mot_trl.evaluation.quick import evaluate_accuracy
from mot_trl.tasks import nano
from mot_trl.tasks.nano.model import NANO
from recipes.nano import model_card, pretraining
from recipes.nano.demonstrations import CAREFUL, demonstrations
from recipes.nano.model import new_nano

SEED, BATCH_SIZE, STEPS, CAREFUL_STEPS = 0, 128, 1_700, 1_300
HELD_OUT = 900


def main(
    folder: Path = NANO,
    *,
    steps: int = STEPS,
    careful_steps: int = CAREFUL_STEPS,
    batch_size: int = BATCH_SIZE,
    size: int = HELD_OUT,
) -> None:
    """Train, evaluate on `size` held-out questions, and write the checkpoint with its model card."""
    torch.manual_seed(SEED)
    model, tokenizer = new_nano()
    # Careful demonstrations first, to learn the puzzles; then the mixture, so that there is something to unlearn.
    careful = demonstrations(seed=SEED, ways=CAREFUL)
    pairs = chain(islice(careful, careful_steps * batch_size), demonstrations(seed=SEED))
    rows = pretraining.batches(pairs, tokenizer, batch_size=batch_size)
    pretraining.pretrain(model, rows, steps=steps, learning_rate=4e-3)
    # Evaluate the rounded weights, which are those that ship.
    model = model.bfloat16().float()
    cpu_minutes = time.process_time() / 60
    held_out = list(nano.load(size=size, split="test"))
    model_card.save(
        model,
        tokenizer,
        folder,
        measured=evaluate_accuracy(model, tokenizer, held_out, nano.correct_answer),
        rows=size,
        command="OMP_NUM_THREADS=1 python -m recipes.nano.pretrain",
        cpu_minutes=cpu_minutes,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make the embedded model from nothing, in ten CPU minutes.")
    parser.add_argument("folder", type=Path, nargs="?", default=NANO, help="where to (default: over the shipped one)")
    main(parser.parse_args().folder)
