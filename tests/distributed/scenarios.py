"""Short trainings of a tiny model, the same in however many processes and on whatever engine they run."""

import gc
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from conftest import make_model, make_tokenizer
from datasets import Dataset
from peft import LoraConfig
from torch import Tensor

from mot_trl import Mixture, MoTGRPOConfig, MoTGRPOTrainer
from mot_trl.strategies.base import visible_logp

ROWS = 8
LENGTH = 10
EVERY = ("cpu", "fsdp2", "zero3")
MULTINOMIAL = torch.multinomial


@dataclass(frozen=True)
class Scenario:
    """What is special to a training.

    Attributes:
        engines: The launch files it is run with.
        settings: Of `MoTGRPOConfig`.
        tied: Whether the model has one table for embeddings and head.
        plain_rows: Rows of the global batch that are given no mixtures.
        lora: Whether adapters are trained.
        eval_prompts: Prompts evaluated at the end, all alike, two in a batch. Where processes share a last batch that
            is not full, accelerate fills it with the first prompts; one process is given those as well.
        mixed_precision: As `accelerate launch` is told; TRL's own `bf16` asks for a GPU.
        resume_from: The step after which the training is taken up again, from its checkpoint.
    """

    engines: tuple[str, ...] = EVERY
    settings: dict[str, Any] = field(default_factory=dict)
    tied: bool = False
    plain_rows: Sequence[int] = ()
    lora: bool = False
    eval_prompts: int = 0
    mixed_precision: str = "no"
    resume_from: int = 0


SCENARIOS = {
    "mixtures": Scenario((*EVERY, "zero2"), {"trace_steps": 1, "beta": 0.1}),
    "no mixture at all": Scenario(("cpu",), plain_rows=range(ROWS)),
    "one process without a mixture": Scenario(plain_rows=range(ROWS // 2, ROWS)),
    "forced tokens": Scenario(("cpu",), {"max_mixture_tokens": 4, "max_completion_length": 13}),
    "uneven evaluation": Scenario(("cpu",), eval_prompts=3),
    "accumulated": Scenario(("cpu",), {"gradient_accumulation_steps": 2, "num_iterations": 2, "max_steps": 3}),
    "checkpointed": Scenario(("fsdp2", "zero3"), {"gradient_checkpointing": True}, tied=True),
    "completions of unlike lengths": Scenario(
        # The bias may keep state of rows, for all that the decoder knows, so they stay in the batch to its end.
        settings={"generation_kwargs": {"sequence_bias": [[[2], 2.5]]}, "temperature": 2.0},
    ),
    "adapters": Scenario(("fsdp2", "zero3"), lora=True),
    "bfloat16": Scenario(("fsdp2",), mixed_precision="bf16"),
    "resumed": Scenario(
        (*EVERY, "zero2"),
        {"save_strategy": "steps", "save_steps": 2, "optim": "adamw_torch", "learning_rate": 1e-3},
        resume_from=2,
    ),
}


class SeededByRow:
    """Top-two mixtures whose weights depend on the token's place, and the completion's in the global batch, alone."""

    exact: ClassVar[bool] = False

    def __init__(self, first_row: int, plain_rows: Sequence[int], generations: int) -> None:
        self.first_row, self.plain_rows = first_row, plain_rows
        self.generations, self.draws = generations, 0

    def generators(self, count: int) -> list[torch.Generator]:
        """Random numbers of this step, for each row."""
        first = 10_000 * self.generations + 100 * self.draws + self.first_row
        return [torch.Generator().manual_seed(first + row) for row in range(count)]

    def sample_tokens(self, probs: Tensor, num_samples: int) -> Tensor:
        """In place of `torch.multinomial`, which draws the probes after the mixtures."""
        rows = zip(probs, self.generators(len(probs)), strict=True)
        return torch.stack([MULTINOMIAL(row, num_samples, generator=generator) for row, generator in rows])

    def draw(self, logps: Tensor) -> Mixture:
        self.draws += 1
        candidate_ids = logps.topk(2, dim=-1).indices
        shares = torch.stack([torch.rand((), generator=generator) for generator in self.generators(len(logps))])
        plain = torch.tensor([self.first_row + row in self.plain_rows for row in range(len(logps))])
        shares = torch.where(plain, shares.round(), shares)
        log_weights = torch.stack([shares, 1 - shares], dim=-1).log()
        return Mixture(candidate_ids, log_weights, candidate_ids.gather(-1, log_weights.argmax(-1, True)).squeeze(-1))

    def log_prob(self, candidate_logps: Tensor, mixture: Mixture) -> Tensor:
        return visible_logp(candidate_logps, mixture)

    def letters(self, completions: list[list[dict[str, str]]], **_: object) -> list[float]:
        """The reward, which comes after each generation."""
        self.generations, self.draws = self.generations + 1, 0
        return [float(sum(map(ord, completion[0]["content"])) % 7) for completion in completions]


def prompts(numbers: Sequence[int]) -> Dataset:
    texts = [f"Count to {number}." for number in numbers]
    return Dataset.from_dict({"prompt": [[{"role": "user", "content": text}] for text in texts]})


def save_models(folder: Path) -> None:
    """What every process of every engine begins with."""
    for name, tied in (("model", False), ("tied", True)):
        make_model(tie_word_embeddings=tied).save_pretrained(folder / name)
        make_tokenizer().save_pretrained(folder / name)


class WatchedTrainer(MoTGRPOTrainer):
    """Remembers in which dtype log-probs reach the loss."""

    logps_dtype = ""

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
        outputs = super()._get_per_token_logps_and_entropies(*args, **kwargs)
        self.logps_dtype = str(outputs[0].dtype)
        return outputs


def train(
    name: str, scenario: Scenario, folder: Path, models: Path, *, resume: bool = False
) -> tuple[MoTGRPOTrainer, dict[str, Any]]:
    """The trainer after three steps, saved to `folder`, and what it logged."""
    os.environ["ACCELERATE_MIXED_PRECISION"] = scenario.mixed_precision
    processes = int(os.environ.get("WORLD_SIZE", 1))
    evaluated = scenario.eval_prompts + (scenario.eval_prompts % 2 if processes == 1 else 0)
    accumulated = scenario.settings.get("gradient_accumulation_steps", 1)
    config = MoTGRPOConfig(
        str(folder),
        **{
            "per_device_train_batch_size": ROWS // processes // accumulated,
            "per_device_eval_batch_size": ROWS // processes,
            "num_generations": 4,
            "max_completion_length": LENGTH,
            "num_train_epochs": 1,
            "learning_rate": 0.1,
            # So that weights tell gradients apart, which adaptive optimizers make alike.
            "optim": "sgd",
            "logging_steps": 1,
            "report_to": [],
            "use_cpu": not os.environ.get("ACCELERATE_TORCH_DEVICE"),
            "bf16": False,
            "save_strategy": "no",
            "trace_steps": 0,
            "disable_tqdm": True,
            "generation_kwargs": {"suppress_tokens": [2]},
            "gradient_checkpointing": False,
            "model_init_kwargs": {"dtype": "float32"},
            **scenario.settings,
        },
    )
    assert config.world_size == processes
    torch.manual_seed(0)
    strategy = SeededByRow(
        config.process_index * ROWS // processes,
        scenario.plain_rows,
        generations=scenario.resume_from if resume else 0,
    )
    trainer = WatchedTrainer(
        str(models / ("tied" if scenario.tied else "model")),
        strategy.letters,
        config,
        # Two prompts a step: the seventh is left over at the end of the epoch.
        train_dataset=prompts(range(7)),
        eval_dataset=prompts([0] * evaluated) if evaluated else None,
        processing_class=make_tokenizer(),
        peft_config=LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False) if scenario.lora else None,
        strategy=strategy,
    )
    checkpoint = str(folder / f"checkpoint-{scenario.resume_from}") if resume else None
    with patch.object(torch, "multinomial", strategy.sample_tokens):
        trainer.train(resume_from_checkpoint=checkpoint)
        metrics = trainer.evaluate() if evaluated else {}
    trainer.save_model()
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    return trainer, {"steps": logged, "evaluated": metrics, "dtype": trainer.logps_dtype}


def run(name: str, folder: Path, models: Path) -> tuple[MoTGRPOTrainer, dict[str, Any]]:
    """Train as the scenario says; what was logged, and what after it was taken up again."""
    scenario = SCENARIOS[name]
    trainer, result = train(name, scenario, folder / name, models)
    if scenario.resume_from:
        del trainer
        gc.collect()
        trainer, result["resumed"] = train(name, scenario, folder / name, models, resume=True)
    return trainer, result
