"""GRPO with mixtures of tokens on Reasoning Gym.

    accelerate launch recipes/reasoning_gym.py --suite ten
    accelerate launch recipes/reasoning_gym.py --task maze --experiment_name dirichlet --use_peft

Defaults: MoT-G's (arXiv 2509.21482), for one GPU of 80 GB. Held-out items give `eval_<task>_accuracy` in the log.
"""

from dataclasses import dataclass, field

from trl import ModelConfig

from mot_trl.tasks import reasoning_gym
from mot_trl.tasks.reasoning_gym.callback import training_data
from mot_trl.trainer import script_utils
from mot_trl.trainer.config import MoTGRPOConfig

DEFAULTS = {
    "model_name_or_path": "Qwen/Qwen2.5-1.5B-Instruct",
    "output_dir": "outputs/reasoning_gym",
    "experiment_name": "top_k",
    "temperature": 0.9,
    "num_generations": 10,
    "per_device_train_batch_size": 10,
    "per_device_eval_batch_size": 10,
    "gradient_accumulation_steps": 4,
    "max_completion_length": 1024,
    "learning_rate": 5e-6,
    "reward_weights": [1.0, *reasoning_gym.SHAPING_WEIGHTS],
    "eval_strategy": "steps",
    "logging_steps": 1,
}


@dataclass
class TaskConfig:
    """Which of Reasoning Gym's items."""

    task: list[str] = field(default_factory=list, metadata={"help": "Data sets, in place of a suite's."})
    suite: str = field(default="ten", metadata={"help": "`ten` (MoT-G's) or `five`."})
    train_size: int = field(default=10_000, metadata={"help": "Rows to train on; 0: without end."})
    eval_size: int = field(default=100, metadata={"help": "Held-out rows to evaluate on."})
    task_seed: int = field(default=42, metadata={"help": "Reasoning Gym's seed."})
    curriculum: bool = field(default=False, metadata={"help": "Make items harder as they are solved."})


def main(config: MoTGRPOConfig, model: ModelConfig, data: TaskConfig) -> None:
    """Train on a suite or on the named data sets, and evaluate on items of the same that are held out."""
    mixture = data.task or data.suite
    script_utils.train(
        config,
        model,
        eval_dataset=reasoning_gym.load(mixture, size=data.eval_size, seed=data.task_seed, split="test"),
        reward_funcs=[reasoning_gym.score, *reasoning_gym.SHAPING],
        **training_data(mixture, size=data.train_size, seed=data.task_seed, curriculum=data.curriculum),
    )


if __name__ == "__main__":
    main(*script_utils.parse(DEFAULTS, TaskConfig))
