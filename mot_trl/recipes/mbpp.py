"""GRPO with mixtures of tokens on MBPP: programs, rewarded by their tests."""

from trl import ModelConfig

from mot_trl.recipes.settings import MOT_G_DEFAULTS
from mot_trl.tasks import mbpp
from mot_trl.trainer import script_utils
from mot_trl.trainer.config import MoTGRPOConfig

DEFAULTS = {
    **MOT_G_DEFAULTS,
    "output_dir": "outputs/mbpp",
    "reward_weights": [1.0, 0.2, 0.1, 0.1],
}

ARGUMENTS = script_utils.DataArguments


def main(config: MoTGRPOConfig, model: ModelConfig, data: script_utils.DataArguments) -> None:
    """Train on the train split; `--eval_strategy steps` evaluates on the test split."""
    script_utils.train(
        config,
        model,
        train_dataset=mbpp.load("train", data.data_path),
        eval_dataset=mbpp.load("test", data.data_path) if config.eval_strategy != "no" else None,
        reward_funcs=[mbpp.tests_pass, mbpp.runs, mbpp.compiles, mbpp.has_code_block],
    )
