"""Trains a tiny model for a few steps in so many processes, and prints what it logged and what it left behind."""

import json
import sys
from pathlib import Path
from typing import Any, ClassVar

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from conftest import make_model, make_tokenizer
from datasets import Dataset
from torch import Tensor

from mot_trl import Mixture, MoTGRPOConfig, MoTGRPOTrainer
from mot_trl.strategies.base import visible_logp

ROWS = 8


class SeededByRow:
    """Top-two mixtures whose weights depend on the step and the completion's place in the global batch alone."""

    exact: ClassVar[bool] = False

    def __init__(self, first_row: int, visible_only: bool) -> None:
        self.first_row, self.visible_only, self.draws = first_row, visible_only, 0

    def draw(self, logps: Tensor) -> Mixture:
        self.draws += 1
        candidate_ids = logps.topk(2, dim=-1).indices
        seeds = [1000 * self.draws + self.first_row + row for row in range(len(logps))]
        shares = torch.stack([torch.rand((), generator=torch.Generator().manual_seed(seed)) for seed in seeds])
        if self.visible_only:
            shares = shares.round()
        log_weights = torch.stack([shares, 1 - shares], dim=-1).log()
        return Mixture(candidate_ids, log_weights, candidate_ids.gather(-1, log_weights.argmax(-1, True)).squeeze(-1))

    def log_prob(self, candidate_logps: Tensor, mixture: Mixture) -> Tensor:
        return visible_logp(candidate_logps, mixture)


def letters(completions: list[list[dict[str, str]]], **_: object) -> list[float]:
    return [float(sum(map(ord, completion[0]["content"])) % 7) for completion in completions]


def main(folder: str, processes: int, visible_only: bool) -> None:
    texts = [f"Count to {number}." for number in range(8)]
    config = MoTGRPOConfig(
        output_dir=folder,
        per_device_train_batch_size=ROWS // processes,
        num_generations=4,
        max_completion_length=10,
        max_steps=3,
        learning_rate=1e-3,
        logging_steps=1,
        report_to=[],
        use_cpu=True,
        bf16=False,
        save_strategy="no",
        disable_tqdm=True,
        generation_kwargs={"suppress_tokens": [2]},
        gradient_checkpointing=False,
    )
    assert config.world_size == processes
    trainer = MoTGRPOTrainer(
        make_model(),
        letters,
        config,
        train_dataset=Dataset.from_dict({"prompt": [[{"role": "user", "content": text}] for text in texts]}),
        processing_class=make_tokenizer(),
        strategy=SeededByRow(config.process_index * ROWS // processes, visible_only),
    )
    trainer.train()
    names = ("loss", "grad_norm", "reward", "entropy", "mixture/share", "mixture/effective_candidates")
    history: list[dict[str, Any]] = [
        {name: entry[name] for name in names} for entry in trainer.state.log_history if "loss" in entry
    ]
    weight = next(iter(trainer.accelerator.unwrap_model(trainer.model).parameters())).detach()
    trainer.end()
    result = {
        "history": history,
        "weight": float(weight.double().abs().sum()),
        "gloo_threads": sum(path.read_text().startswith("pt_gloo") for path in Path("/proc/self/task").glob("*/comm")),
    }
    print("RESULT", json.dumps(result), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), "visible_only" in sys.argv)
