"""Settings that the recipes share: those of MoT-G."""

from typing import Any

PRESET = "top_k"
"""The preset that recipes train with unless another is asked for."""

# MoT-G's settings for Qwen2.5-1.5B-Instruct (arXiv:2509.21482), which want one GPU of 80 GB; recipes add their own.
MOT_G_DEFAULTS: dict[str, Any] = {
    "model_name_or_path": "Qwen/Qwen2.5-1.5B-Instruct",
    "experiment_name": PRESET,
    "temperature": 0.9,
    "num_generations": 10,
    "per_device_train_batch_size": 10,
    "gradient_accumulation_steps": 4,
    "per_device_eval_batch_size": 10,
    "max_completion_length": 1024,
    "learning_rate": 5e-6,
    "logging_steps": 1,
    # An evaluation costs what two steps do, rather than hundreds.
    "eval_steps": 50,
    "num_generations_eval": 1,
}
