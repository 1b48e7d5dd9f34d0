"""GRPO with mixtures of tokens on Reasoning Gym."""

from dataclasses import dataclass, field

from trl import ModelConfig

from mot_trl.recipes.settings import MOT_G_DEFAULTS
from mot_trl.tasks import reasoning_gym
from mot_trl.tasks.reasoning_gym.callback import training_data
from mot_trl.trainer import script_utils
from mot_trl.trainer.config import MoTGRPOConfig

DEFAULTS = {
    **MOT_G_DEFAULTS,
    "output_dir": "outputs/reasoning_gym",
    "reward_weights": [1.0, *reasoning_gym.SHAPING_WEIGHTS],
    "eval_strategy": "steps",
}


@dataclass
class TaskConfig:
    """Which of Reasoning Gym's items."""

    task: list[str] = field(default_factory=list, metadata={"help": "Datasets, in place of a suite's."})
    suite: str = field(default="ten", metadata={"help": "Suite `ten`, which is MoT-G's, or `five`."})
    train_size: int = field(default=10_000, metadata={"help": "Rows to train on; 0: without end."})
    eval_size: int = field(default=100, metadata={"help": "Held-out rows to evaluate on."})
    task_seed: int = field(default=42, metadata={"help": "Reasoning Gym's seed."})
    curriculum: bool = field(default=False, metadata={"help": "Make items harder as they are solved."})


ARGUMENTS = TaskConfig


def main(config: MoTGRPOConfig, model: ModelConfig, data: TaskConfig) -> None:
    """Train on a suite or on the named datasets, and evaluate on items of the same that are held out."""
    mixture, seed, evaluates = data.task or data.suite, data.task_seed, config.eval_strategy != "no"
    script_utils.train(
        config,
        model,
        eval_dataset=reasoning_gym.load(mixture, size=data.eval_size, seed=seed, split="test") if evaluates else None,
        reward_funcs=[reasoning_gym.score, *reasoning_gym.SHAPING],
        **training_data(mixture, size=data.train_size, seed=seed, curriculum=data.curriculum),
    )
