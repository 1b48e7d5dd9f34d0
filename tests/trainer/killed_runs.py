"""Trains a tiny model, once for each moment named on the command line, and kills itself there."""

import io
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from conftest import make_model, make_tokenizer
from datasets import Dataset

from mot_trl import MoTGRPOConfig, MoTGRPOTrainer

STEPS = 10
DEADLY_STEP = 6
# A generation lasts four steps and an epoch eight, so that checkpoints fall in, between and behind them.
SETTINGS = {
    "strategy": "dirichlet",
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 1,
    "steps_per_generation": 2,
    "num_iterations": 2,
    "num_generations": 4,
    "max_completion_length": 8,
    "max_steps": STEPS,
    "learning_rate": 1e-3,
    "save_strategy": "steps",
    "save_steps": 1,
    "logging_steps": 1,
    "report_to": [],
    "use_cpu": True,
    "bf16": False,
    "disable_tqdm": True,
    "gradient_checkpointing": False,
    "trace_steps": 0,
}


def letters(completions: list[list[dict[str, str]]], **_: object) -> list[float]:
    return [float(sum(map(ord, completion[0]["content"])) % 7) for completion in completions]


def make_trainer(folder: Path, reward: Callable[..., Any] = letters, **overrides: Any) -> MoTGRPOTrainer:
    texts = [f"Count to {number}." for number in range(4)]
    return MoTGRPOTrainer(
        make_model(),
        reward,
        MoTGRPOConfig(**{**SETTINGS, "output_dir": str(folder), **overrides}),
        train_dataset=Dataset.from_dict({"prompt": [[{"role": "user", "content": text}] for text in texts]}),
        processing_class=make_tokenizer(),
    )


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_generating(folder: Path) -> None:
    trainer = make_trainer(folder)

    def watch(module: Any, inputs: Any) -> None:
        if trainer.state.global_step == 4 and not torch.is_grad_enabled():
            die()

    trainer.model.model.layers[1].register_forward_pre_hook(watch)
    trainer.train()


def die_rewarding(folder: Path) -> None:
    def deadly(completions: Any, trainer_state: Any, **kwargs: Any) -> list[float]:
        if trainer_state.global_step == 4:
            die()
        return letters(completions)

    make_trainer(folder, deadly).train()


def die_saving(folder: Path, name: str) -> None:
    """Die with half of a file of the sixth checkpoint on the disk."""
    save, doomed = torch.save, f"checkpoint-{DEADLY_STEP}"

    def deadly(value: Any, path: Any, *args: Any, **kwargs: Any) -> None:
        if doomed in str(path) and Path(path).name == name:
            buffer = io.BytesIO()
            save(value, buffer)
            Path(path).write_bytes(buffer.getvalue()[: buffer.tell() // 2])
            die()
        save(value, path, *args, **kwargs)

    torch.save = deadly
    make_trainer(folder).train()


MOMENTS: dict[str, Callable[[Path], None]] = {
    "generating": die_generating,
    "rewarding": die_rewarding,
    "saving the optimizer": lambda folder: die_saving(folder, "optimizer.pt"),
    "saving the rollouts": lambda folder: die_saving(folder, "rollouts_0.pt"),
}


if __name__ == "__main__":
    torch.set_num_threads(1)
    for moment in sys.argv[2:]:
        # One process for each, forked before any has computed anything: importing is what takes long.
        child = os.fork()
        if child == 0:
            MOMENTS[moment](Path(sys.argv[1]) / moment)
            os._exit(0)
        print(moment, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), sep=":", flush=True)
