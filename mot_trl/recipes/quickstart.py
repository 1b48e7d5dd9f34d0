"""See thinking in mixtures beat thinking in tokens at the same budget, without any download: `make quickstart`.

`nano-soft` was taught to mix all that can be reached by each step, its twin to take the step that leads to the answer.
Both come with the package. GRPO trains nano-soft on. Ctrl-C saves; the same command resumes.
"""

from functools import partial

from trl import ModelConfig

from mot_trl.evaluation.quick import accuracy_table, evaluate_accuracy
from mot_trl.generation.formatting import format_generation
from mot_trl.generation.generate import generate
from mot_trl.tasks import width
from mot_trl.tasks.nano.model import load_nano_path, load_nano_soft
from mot_trl.traces.frontier import draw_frontier, thoughts
from mot_trl.trainer import script_utils
from mot_trl.trainer.config import MoTGRPOConfig
from mot_trl.trainer.grpo_trainer import MoTGRPOTrainer

DEFAULTS = {
    "output_dir": "outputs/quickstart",
    "strategy": "dirichlet",
    "mixture_k": 8,
    "strategy_kwargs": {"min_prob": 0.02, "concentration": 100.0},
    "max_mixture_tokens": 3,
    "max_completion_length": 16,
    "per_device_train_batch_size": 128,
    "max_steps": 40,
    "learning_rate": 3e-5,
    "logging_steps": 5,
    "eval_steps": 20,
    "num_generations_eval": 1,
    "gradient_checkpointing": False,
    "bf16": False,
    "report_to": "none",
}

ARGUMENTS = script_utils.NoArguments


def main(config: MoTGRPOConfig, flags: ModelConfig, _: script_utils.NoArguments) -> None:
    """Measure, train, measure again, and show what came of it."""
    script_utils.check_no_model_flags(flags)
    model, tokenizer = load_nano_soft()
    train, held_out = width.load(size=2_400), width.load(size=360, seed=1, split="test")
    trainer = MoTGRPOTrainer(model, width.correct_answer, config, train, held_out.select(range(96)), tokenizer)
    phases = config.decoder.build_phases(tokenizer)
    common = {"tokenizer": tokenizer, "rows": list(held_out), "reward": width.correct_answer, "phases": phases}
    examine, twin = partial(evaluate_accuracy, **common), load_nano_path()[0]
    found = {"tokens": examine(twin), "likeliest tokens": examine(twin, do_sample=False)}
    found["mixtures"], folder = examine(model, strategy=trainer.strategy), script_utils.train_resumable(trainer)
    found["mixtures after GRPO"] = examine(model, strategy=trainer.strategy)
    print(f"\nAccuracy on {len(held_out)} held-out questions, three thinking steps each:\n\n{accuracy_table(found)}")
    chat, text = held_out[0]["prompt"], held_out[0]["prompt"][0]["content"]
    generation = generate(model, tokenizer, [chat], strategy=trainer.strategy, phases=phases, max_new_tokens=16)
    print(f"\n{text}\n{format_generation(generation, tokenizer)}")
    mixed = thoughts(generation, tokenizer, steps=3)
    files = draw_frontier(text.split(": ")[1].split(), text.split()[1], mixed, folder / "frontier")
    print(f'\nWhat each step mixed: {files[0]}. Ask the model: mot-trl generate {folder} "{text}"')
