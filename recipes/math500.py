"""GRPO with mixtures of tokens on MATH's training problems, evaluated on MATH-500.

    accelerate launch recipes/math500.py --eval_strategy steps --eval_steps 50
    accelerate launch recipes/math500.py --data_path FOLDER

FOLDER holds train.jsonl (`problem`, `solution`) and, to evaluate, test.jsonl (`problem`, `answer`). The rewards need
the extra `math`. The defaults are MoT-G's, which want one GPU of 80 GB, with room for longer thoughts.
"""

from mot_g import MOT_G_DEFAULTS
from trl import ModelConfig

from mot_trl.tasks import math500
from mot_trl.trainer import script_utils
from mot_trl.trainer.config import MoTGRPOConfig

DEFAULTS = {
    **MOT_G_DEFAULTS,
    "output_dir": "outputs/math500",
    "max_completion_length": 2048,
    "reward_weights": [1.0, 0.2],
}


def main(config: MoTGRPOConfig, model: ModelConfig, data: script_utils.ScriptArguments) -> None:
    """Train on the train split; `--eval_strategy steps` evaluates on the 500."""
    script_utils.train(
        config,
        model,
        train_dataset=math500.load("train", data.data_path),
        eval_dataset=math500.load("test", data.data_path) if config.eval_strategy != "no" else None,
        reward_funcs=[math500.correct_answer, math500.tag_count],
    )


if __name__ == "__main__":
    main(*script_utils.parse(DEFAULTS))
