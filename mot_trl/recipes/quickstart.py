"""See a model learn to think in mixtures, in minutes, on a CPU and without any download: `make quickstart`."""

from functools import partial
from typing import Any

from trl import ModelConfig

from mot_trl.evaluation.quick import accuracy_table, evaluate_accuracy
from mot_trl.generation.formatting import format_generation
from mot_trl.generation.generate import generate
from mot_trl.tasks import nano
from mot_trl.tasks.nano.model import load_nano
from mot_trl.traces.learning_curves import plot_runs
from mot_trl.trainer import script_utils
from mot_trl.trainer.config import MoTGRPOConfig
from mot_trl.trainer.grpo_trainer import MoTGRPOTrainer

DEFAULTS = {
    "output_dir": "outputs/quickstart",
    "strategy": "dirichlet",
    "mixture_k": 3,
    "strategy_kwargs": {"min_prob": 0.15, "visible": "heaviest"},
    "mixture_score": "visible",
    "max_completion_length": 64,
    "num_generations_eval": 1,
    "per_device_train_batch_size": 128,
    "per_device_eval_batch_size": 96,
    "max_steps": 100,
    "learning_rate": 2e-4,
    "logging_steps": 5,
    "eval_strategy": "steps",
    "eval_on_start": True,
    "eval_steps": 20,
    "save_steps": 20,
    "save_total_limit": 1,
    "gradient_checkpointing": False,
    "bf16": False,
    "report_to": "none",
}

ARGUMENTS = script_utils.NoArguments


def main(config: MoTGRPOConfig, flags: ModelConfig, _: script_utils.NoArguments) -> None:
    """Measure, train, measure again, and show what came of it."""
    script_utils.check_no_model_flags(flags)
    model, tokenizer = load_nano()
    train, held_out = nano.load(size=6_000), nano.load(size=360, split="test")
    trainer = MoTGRPOTrainer(model, nano.correct_answer, config, train, held_out.select(range(96)), tokenizer)
    how: dict[str, Any] = {"strategy": trainer.strategy, "max_new_tokens": config.max_completion_length}
    how |= {"phases": trainer.decoder and trainer.decoder.phases, "temperature": config.temperature}
    examine = partial(evaluate_accuracy, model, tokenizer, list(held_out), nano.correct_answer, **how)
    before, folder, after = examine(), script_utils.train_resumable(trainer), examine()
    question = held_out[0]["prompt"][0]
    print(f"\nAccuracy on {len(held_out)} held-out questions:\n\n{accuracy_table({'before': before, 'after': after})}")
    print(f"\n{question['content']}\n{format_generation(generate(model, tokenizer, [[question]], **how), tokenizer)}")
    print(f"\nReward and accuracy over the steps: {plot_runs([folder], window=3)[-2]}")
    print(f'The model is in {folder}; ask it: mot-trl generate {folder} "{question["content"]}"')
