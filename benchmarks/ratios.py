"""How far one step of the optimizer moves the ratios of draws, by strategy.

Run `python benchmarks/ratios.py`; a minute of one core. Each arm trains nano for one step, at learning rate 1e-4 on 16
prompts x 8 completions, and passes over the same rollouts again. Printed: the share of ratios beyond TRL's clip (0.8
to 1.2) at thoughts and at the answers' ordinary tokens, and quantiles of the thoughts' log-ratios.
"""

import argparse
import logging
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from mot_trl import MoTGRPOConfig, MoTGRPOTrainer, Rollout
from mot_trl.tasks import nano
from mot_trl.tasks.nano.model import load_nano

DIRICHLET: dict[str, Any] = {"strategy": "dirichlet", "mixture_k": 3, "strategy_kwargs": {"min_prob": 0.0}}
GUMBEL: dict[str, Any] = {"strategy": "gumbel_softmax", "mixture_k": 5}
ARMS: dict[str, dict[str, Any]] = {
    "one_token": {"strategy": "one_token"},
    "one_token, k=3": {"strategy": "one_token", "mixture_k": 3},
    "top_k": {"strategy": "top_k", "mixture_k": 3},
    "nucleus": {"strategy": "nucleus"},
    "min_p": {"strategy": "min_p"},
    "elementwise_max": {"strategy": "elementwise_max", "mixture_k": 3},
    "mixture_of_inputs": {"strategy": "mixture_of_inputs"},
    "without_replacement": {"strategy": "without_replacement", "mixture_k": 2},
    "multiplex": {"strategy": "multiplex", "mixture_k": 3},
    "polya_urn": {"strategy": "polya_urn", "mixture_k": 3},
    "gumbel_softmax": GUMBEL,
    "dirichlet": {"strategy": "dirichlet", "mixture_k": 3},
    "gumbel_softmax, min_ratio=0": {**GUMBEL, "strategy_kwargs": {"min_ratio": 0.0}},
    "gumbel_softmax 0.1, min_ratio=0": {**GUMBEL, "strategy_kwargs": {"min_ratio": 0.0, "temperature": 0.1}},
    "dirichlet, min_prob=0": DIRICHLET,
    "dirichlet, min_prob=0, visible": {**DIRICHLET, "mixture_score": "visible"},
}


class SecondPass(MoTGRPOTrainer):
    """Keeps the log-ratios of the pass after the first step."""

    def _log_replay(self, replayed_logps: Tensor | None, inputs: dict[str, Any]) -> None:
        super()._log_replay(replayed_logps, inputs)
        if self.state.global_step == 1 and replayed_logps is not None:
            thinking = Rollout.from_batch(inputs).thinking_mask
            answering = inputs["completion_mask"].bool() & ~thinking
            log_ratios = replayed_logps - inputs["old_per_token_logps"]
            self.thoughts, self.answers = log_ratios[thinking], log_ratios[answering]


def main() -> None:
    """Print a line for each arm."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--only", default="", help="arms that contain this text")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    print(f"{'arm':34s} beyond the clip: thoughts, answer   thoughts' log-ratios: median |.|, 99 %, largest")
    for name, arm in ARMS.items():
        if arguments.only in name:
            thoughts, answers = second_pass(arm, arguments.lr)
            quantiles = (thoughts.abs().median(), thoughts.quantile(0.99), thoughts.max())
            cells = "".join(f"{value:10.2f}" for value in quantiles)
            print(f"{name:34s} {beyond(thoughts):23.1%} {beyond(answers):7.1%} {cells}", flush=True)


def second_pass(arm: dict[str, Any], learning_rate: float) -> tuple[Tensor, Tensor]:
    """Log-ratios of thoughts and of answers' tokens after one step."""
    model, tokenizer = load_nano()
    with TemporaryDirectory() as folder:
        config = MoTGRPOConfig(
            output_dir=folder,
            **arm,
            max_steps=2,
            num_iterations=2,
            per_device_train_batch_size=128,
            num_generations=8,
            max_completion_length=64,
            learning_rate=learning_rate,
            lr_scheduler_type="constant",
            gradient_checkpointing=False,
            use_cpu=True,
            bf16=False,
            trace_steps=0,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            logging_strategy="no",
        )
        trainer = SecondPass(
            model, nano.correct_answer, config, train_dataset=nano.load(size=64), processing_class=tokenizer
        )
        trainer.train()
    return trainer.thoughts, trainer.answers


def beyond(log_ratios: Tensor) -> float:
    """Share of ratios beyond TRL's default clip."""
    return ((log_ratios.exp() - 1).abs() > 0.2).float().mean().item()


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
