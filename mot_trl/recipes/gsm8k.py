"""GRPO with mixtures of tokens on GSM8K."""

from trl import ModelConfig

from mot_trl.recipes.settings import MOT_G_DEFAULTS
from mot_trl.rewards.judge.reward import judge_or
from mot_trl.tasks import gsm8k
from mot_trl.trainer import script_utils
from mot_trl.trainer.config import MoTGRPOConfig

DEFAULTS = {
    **MOT_G_DEFAULTS,
    "output_dir": "outputs/gsm8k",
    "reward_weights": [1.0, 0.2],
}

ARGUMENTS = script_utils.ScriptArguments


def main(config: MoTGRPOConfig, model: ModelConfig, data: script_utils.ScriptArguments) -> None:
    """Train on the train split; `--eval_strategy steps` evaluates on the test split."""
    script_utils.train(
        config,
        model,
        train_dataset=gsm8k.load("train", data.data_path),
        eval_dataset=gsm8k.load("test", data.data_path) if config.eval_strategy != "no" else None,
        reward_funcs=[
            judge_or(gsm8k.correct_answer, model=data.judge, base_url=data.judge_base_url, question_column="question"),
            gsm8k.tag_count,
        ],
    )
