"""See mixtures train in half a minute, on a CPU and without any download.

    make quickstart

A small random model, which can answer nothing, learns through mixtures to write digits: the questions are a few rows
of GSM8K that come with the package.
"""

from typing import Any

from mot_trl import MoTGRPOConfig, MoTGRPOTrainer
from mot_trl.models import random_model
from mot_trl.tasks import gsm8k

DEFAULTS: dict[str, Any] = {
    "output_dir": "outputs/quickstart",
    "experiment_name": "dirichlet",
    "max_mixture_tokens": 12,
    "max_completion_length": 24,
    "num_generations": 8,
    "per_device_train_batch_size": 16,
    "max_steps": 40,
    "learning_rate": 1e-2,
    "logging_steps": 10,
    "gradient_checkpointing": False,
    "use_cpu": True,
    "bf16": False,
    "report_to": [],
    "save_strategy": "no",
    "disable_tqdm": True,
}


def digits(completions: list[list[dict[str, str]]], **_: object) -> list[float]:
    """The share of a completion's characters that are digits."""
    texts = [completion[-1]["content"] for completion in completions]
    return [sum(map(str.isdigit, text)) / max(len(text), 1) for text in texts]


def main() -> None:
    """Train, and say what came of it."""
    model, tokenizer = random_model()
    trainer = MoTGRPOTrainer(
        model,
        digits,
        MoTGRPOConfig(**DEFAULTS),
        train_dataset=gsm8k.load("train", gsm8k.FIXTURE),
        processing_class=tokenizer,
    )
    trainer.train()
    rewards = [entry["reward"] for entry in trainer.state.log_history if "reward" in entry]
    print(f"Share of digits: {rewards[0]:.2f} in the first ten steps, {rewards[-1]:.2f} in the last ten.")
    trainer.save_model(DEFAULTS["output_dir"])
    print(f"The model is in {DEFAULTS['output_dir']}.")


if __name__ == "__main__":
    main()
