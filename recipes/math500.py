"""GRPO with mixtures of tokens on MATH's training problems, evaluated on MATH-500.

    accelerate launch recipes/math500.py --eval_strategy steps --eval_steps 50
    accelerate launch recipes/math500.py --data_path FOLDER

FOLDER holds train.jsonl (`problem`, `solution`) and, to evaluate, test.jsonl (`problem`, `answer`). The rewards need
the extra `math`. The defaults are those of `recipes/gsm8k.py`, which want one GPU of 80 GB, with room for longer
thoughts.
"""

from trl import ModelConfig

from mot_trl.tasks import math500
from mot_trl.trainer import script_utils
from mot_trl.trainer.config import MoTGRPOConfig

DEFAULTS = {
    "model_name_or_path": "Qwen/Qwen2.5-1.5B-Instruct",
    "output_dir": "outputs/math500",
    "experiment_name": "top_k",
    "temperature": 0.9,
    "num_generations": 10,
    "per_device_train_batch_size": 10,
    "gradient_accumulation_steps": 4,
    "per_device_eval_batch_size": 10,
    "max_completion_length": 2048,
    "learning_rate": 5e-6,
    "reward_weights": [1.0, 0.2],
    "logging_steps": 1,
    "log_completions": True,
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
