"""GRPO of a model that thinks in mixtures between its calls of tools."""

from dataclasses import dataclass, field
from pathlib import Path

from trl import ModelConfig

from mot_trl.recipes.warm_up import warm_up
from mot_trl.tasks.agents import AGENTS
from mot_trl.trainer import script_utils
from mot_trl.trainer.config import MoTGRPOConfig

DEFAULTS = {
    "output_dir": "outputs/agent",
    "strategy": "dirichlet",
    "mixture_k": 3,
    "strategy_kwargs": {"min_prob": 0.15, "visible": "heaviest"},
    "mixture_score": "visible",
    "max_completion_length": 96,
    "max_tool_calling_iterations": 4,
    "per_device_train_batch_size": 64,
    "max_steps": 60,
    "learning_rate": 2e-4,
    "logging_steps": 5,
    "save_strategy": "no",
    "gradient_checkpointing": False,
    "bf16": False,
    "report_to": "none",
}


@dataclass
class AgentConfig:
    """Which task, and how many rows of it."""

    agent: str = field(default="guess_number", metadata={"help": "Task: `guess_number` or `calculator`."})
    train_size: int = field(default=2_000, metadata={"help": "Rows to train on."})
    eval_size: int = field(default=100, metadata={"help": "Held-out rows to evaluate on."})


ARGUMENTS = AgentConfig


def main(config: MoTGRPOConfig, model: ModelConfig, data: AgentConfig) -> None:
    """Train the named model, or else nano, which first imitates some conversations with the task's tools."""
    task, seed = AGENTS[data.agent], config.seed
    if model.model_name_or_path is None:
        model.model_name_or_path = str(warm_up(data.agent, Path(str(config.output_dir), "warm_up"), seed=seed))
    script_utils.train(
        config,
        model,
        train_dataset=task.load(data.train_size, seed=seed),
        eval_dataset=task.load(data.eval_size, seed=seed, split="test"),
        **task.TRAINER,
    )
