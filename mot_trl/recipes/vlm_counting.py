"""GRPO with mixtures of tokens on pictures: count the shapes that are drawn in them."""

from trl import ModelConfig

from mot_trl.recipes.settings import PRESET
from mot_trl.rewards.format import soft_format
from mot_trl.tasks import shape_counting as counting
from mot_trl.trainer import script_utils
from mot_trl.trainer.config import MoTGRPOConfig

DEFAULTS = {
    "model_name_or_path": "Qwen/Qwen2.5-VL-3B-Instruct",
    "output_dir": "outputs/vlm_counting",
    "experiment_name": PRESET,
    "temperature": 0.9,
    "num_generations": 8,
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 4,
    "max_completion_length": 256,
    "learning_rate": 5e-6,
    "max_steps": 500,
    "reward_weights": [1.0, 0.5, 0.2],
    "logging_steps": 1,
    "eval_steps": 50,
    "num_generations_eval": 1,
}

ARGUMENTS = script_utils.NoArguments


def main(config: MoTGRPOConfig, model: ModelConfig, _: script_utils.NoArguments) -> None:
    """Train on pictures nobody has seen before; `--eval_strategy steps` evaluates on others."""
    script_utils.train(
        config,
        model,
        train_dataset=counting.load("train", rows=4096),
        eval_dataset=counting.load("test", rows=128),
        reward_funcs=[counting.correct_answer, counting.close_answer, soft_format],
    )
