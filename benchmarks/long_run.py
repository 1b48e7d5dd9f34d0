"""Whether a long run stays as it began: memory, open files, threads and processes over hundreds of steps.

    python benchmarks/long_run.py --steps 500

Trains a tiny model through mixtures on a CPU, with checkpoints, traces, evaluations and logs as in a real run, and
prints what the process holds as it goes.
"""

import argparse
import gc
import os
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from common import random_model
from transformers import TrainerCallback

from mot_trl import MoTGRPOConfig, MoTGRPOTrainer
from mot_trl.tasks import gsm8k


class Holdings(NamedTuple):
    """What a process holds at a step: `memory` in MiB, resident; the rest are counts."""

    step: int
    memory: float
    tensors: int
    files: int
    threads: int
    children: int


class Watch(TrainerCallback):
    """Takes stock every so many steps."""

    def __init__(self, every: int) -> None:
        self.every, self.holdings = every, list[Holdings]()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Count."""
        if state.global_step % self.every == 0:
            self.holdings.append(take_stock(state.global_step))


def take_stock(step: int) -> Holdings:
    """What this process holds now."""
    gc.collect()
    process = Path("/proc/self")
    pages = int((process / "statm").read_text().split()[1])
    tasks = list((process / "task").iterdir())
    return Holdings(
        step=step,
        memory=pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
        tensors=sum(issubclass(type(each), torch.Tensor) for each in gc.get_objects()),
        files=len(list((process / "fd").iterdir())),
        threads=len(tasks),
        children=sum(len((task / "children").read_text().split()) for task in tasks),
    )


def digits(completions: list[list[dict[str, str]]], **_: object) -> list[float]:
    """The share of a completion's characters that are digits."""
    texts = [completion[-1]["content"] for completion in completions]
    return [sum(map(str.isdigit, text)) / max(len(text), 1) for text in texts]


def run(steps: int, every: int, folder: str) -> list[Holdings]:
    """Train for `steps` steps, and what the process held every `every` of them."""
    model, tokenizer = random_model(hidden_size=32, layers=1)
    rows = gsm8k.load("train", gsm8k.FIXTURE)
    config = MoTGRPOConfig(
        output_dir=folder,
        strategy="dirichlet",
        max_mixture_tokens=4,
        max_completion_length=16,
        num_generations=4,
        per_device_train_batch_size=8,
        per_device_eval_batch_size=4,
        steps_per_generation=2,
        gradient_accumulation_steps=1,
        max_steps=steps,
        logging_steps=5,
        trace_steps=10,
        save_strategy="steps",
        save_steps=10,
        save_total_limit=2,
        eval_strategy="steps",
        eval_steps=20,
        gradient_checkpointing=False,
        use_cpu=True,
        bf16=False,
        report_to=[],
        disable_tqdm=True,
    )
    watch = Watch(every)
    trainer = MoTGRPOTrainer(
        model,
        digits,
        config,
        train_dataset=rows,
        eval_dataset=rows.select(range(1)),
        processing_class=tokenizer,
        callbacks=[watch],
    )
    trainer.train()
    trainer.end()
    return watch.holdings


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--every", type=int, default=50)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        holdings = run(options.steps, options.every, folder)
    print(" ".join(f"{name:>8}" for name in Holdings._fields))
    for each in holdings:
        print(" ".join(f"{value:8.1f}" if isinstance(value, float) else f"{value:8d}" for value in each))


if __name__ == "__main__":
    main()
