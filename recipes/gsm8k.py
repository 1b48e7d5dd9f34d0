"""GRPO with mixtures of tokens on GSM8K.

    accelerate launch recipes/gsm8k.py
    accelerate launch recipes/gsm8k.py --experiment_name dirichlet --use_peft --lora_target_modules all-linear
    accelerate launch recipes/gsm8k.py --judge MODEL --judge_base_url http://localhost:8000/v1

The defaults are those of MoT-G (arXiv:2509.21482) for Qwen2.5-1.5B-Instruct, which wants one GPU of 80 GB. On two
CPU cores, SmolLM2-135M-Instruct with `--num_generations 8 --per_device_train_batch_size 8 --max_mixture_tokens 40
--max_completion_length 100` took 8 to 33 s a step; thinking was closed in half the completions, then in all, for tags
alone (0.25, then 0.5 of them; nothing solved in three steps). With LoRA and `dirichlet`, 64 tokens, two steps took
24 and 21 s. Without a budget that model never closes its thinking, earns nothing, and so learns nothing.
"""

from mot_g import MOT_G_DEFAULTS
from trl import ModelConfig

from mot_trl.rewards.judge.reward import judge_or
from mot_trl.tasks import gsm8k
from mot_trl.trainer import script_utils
from mot_trl.trainer.config import MoTGRPOConfig

DEFAULTS = {
    **MOT_G_DEFAULTS,
    "output_dir": "outputs/gsm8k",
    "reward_weights": [1.0, 0.2],
}


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


if __name__ == "__main__":
    main(*script_utils.parse(DEFAULTS))
