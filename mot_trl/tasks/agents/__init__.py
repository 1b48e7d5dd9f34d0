"""Tasks for models that call tools: what `MoTGRPOTrainer`, or any GRPO trainer of TRL's, takes for each."""

from mot_trl.tasks.agents import calculator, guess_number

AGENTS = {
    "calculator": calculator,
    "guess_number": guess_number,
}
"""Modules by name. Each has `load(size, seed, split)` and `TRAINER`, the trainer's arguments beside the rows."""
