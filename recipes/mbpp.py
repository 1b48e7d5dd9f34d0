"""GRPO with mixtures of tokens on MBPP: programs, rewarded by their tests.

    accelerate launch recipes/mbpp.py
    accelerate launch recipes/mbpp.py --experiment_name dirichlet --use_peft --lora_target_modules all-linear

The defaults are those of recipes/gsm8k.py and want one GPU of 80 GB. The programs run in `mot_trl.sandbox`, on Linux;
`python -m mot_trl.sandbox --check` says how well it can hold them on your machine.
"""

from trl import ModelConfig

from mot_trl.tasks import mbpp
from mot_trl.trainer import script_utils
from mot_trl.trainer.config import MoTGRPOConfig

DEFAULTS = {
    "model_name_or_path": "Qwen/Qwen2.5-1.5B-Instruct",
    "output_dir": "outputs/mbpp",
    "experiment_name": "top_k",
    "temperature": 0.9,
    "num_generations": 10,
    "per_device_train_batch_size": 10,
    "gradient_accumulation_steps": 4,
    "per_device_eval_batch_size": 10,
    "max_completion_length": 1024,
    "learning_rate": 5e-6,
    "reward_weights": [1.0, 0.2, 0.1, 0.1],
    "logging_steps": 1,
    "log_completions": True,
}


def main(config: MoTGRPOConfig, model: ModelConfig, data: script_utils.ScriptArguments) -> None:
    """Train on the train split; `--eval_strategy steps` evaluates on the test split."""
    script_utils.train(
        config,
        model,
        train_dataset=mbpp.load("train", data.data_path),
        eval_dataset=mbpp.load("test", data.data_path) if config.eval_strategy != "no" else None,
        reward_funcs=[mbpp.tests_pass, mbpp.runs, mbpp.compiles, mbpp.has_code_block],
    )


if __name__ == "__main__":
    main(*script_utils.parse(DEFAULTS))
