"""Shared parts of the recipes: train, and save."""

import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, IterableDataset, disable_progress_bars
from transformers import AutoConfig, PrinterCallback, ProgressCallback
from transformers.utils import logging
from trl import ModelConfig, get_peft_config, get_quantization_config

from mot_trl.modeling.loading import choose_attention
from mot_trl.trainer.callbacks import ProgressLines, SaveOnInterrupt
from mot_trl.trainer.checkpoint_files import newest_complete
from mot_trl.trainer.config import MoTGRPOConfig
from mot_trl.trainer.grpo_trainer import MoTGRPOTrainer
from mot_trl.trainer.recipe_parser import DataArguments, NoArguments, ScriptArguments, parse

__all__ = [
    "DataArguments",
    "NoArguments",
    "ScriptArguments",
    "check_no_model_flags",
    "parse",
    "silence_others",
    "train",
    "train_resumable",
]

# Where a run is written and reported to does not change what it does.
_NO_SETTINGS = ("output_dir", "logging_dir", "run_name", "report_to", "resume_from_checkpoint", "disable_tqdm")


def train(
    config: MoTGRPOConfig,
    model: ModelConfig,
    *,
    train_dataset: Dataset | IterableDataset,
    reward_funcs: Sequence[Callable[..., Any]],
    eval_dataset: Dataset | IterableDataset | dict[str, Any] | None = None,
    **trainer_kwargs: Any,
) -> MoTGRPOTrainer:
    """Train the model that `model` names, with LoRA if it says so, and save it to `config.output_dir`.

    Raises:
        ValueError: Quantization is asked for without a GPU, or a setting cannot go with mixtures.
    """
    if (model.load_in_4bit or model.load_in_8bit) and not torch.cuda.is_available():
        raise ValueError(
            "`load_in_4bit` and `load_in_8bit` need bitsandbytes and a CUDA GPU, and there is none; leave them out "
            "to train an adapter on the whole weights."
        )
    # What the user wrote in `model_init_kwargs` wins over the flags.
    given: Any = config.model_init_kwargs
    config.model_init_kwargs = {
        "revision": model.model_revision,
        "attn_implementation": model.attn_implementation or _attention_for(model),
        "dtype": model.dtype,
        **(given or {}),
    }
    trainer = MoTGRPOTrainer(
        model.model_name_or_path,
        list(reward_funcs),
        config,
        train_dataset=train_dataset,
        eval_dataset=eval_dataset if config.eval_strategy != "no" else None,
        quantization_config=get_quantization_config(model),
        peft_config=get_peft_config(_with_names(model)),
        **trainer_kwargs,
    )
    stopped = _run(trainer, config.resume_from_checkpoint)
    trainer.end()
    if stopped:
        raise SystemExit(f"{stopped}; resume with `--resume_from_checkpoint latest`.")
    return trainer


def train_resumable(trainer: MoTGRPOTrainer) -> Path:
    """Train, or resume from the run's last checkpoint; return the model's folder.

    Raises:
        ValueError: The folder holds a run with other settings.
        SystemExit: After Ctrl-C, with a checkpoint from which the same call resumes.
    """
    _check_same_run(trainer.args)
    if stopped := _run(trainer, "latest"):
        raise SystemExit(f"{stopped}; run the same command to resume.")
    return Path(str(trainer.args.output_dir))


def _run(trainer: MoTGRPOTrainer, resume_from_checkpoint: str | bool | None) -> str | None:
    """Train with lines of progress, and save; after Ctrl-C leave the checkpoint, and say where it stopped."""
    # Their bars and dicts would interleave with the lines.
    for other in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(other)
    interrupt = SaveOnInterrupt()
    trainer.add_callback(ProgressLines())
    trainer.add_callback(interrupt)
    # transformers reads the flag only as an argument of `train`.
    trainer.train(resume_from_checkpoint=resume_from_checkpoint)
    if interrupt.interrupted:
        return f"Stopped after step {trainer.state.global_step}"
    trainer.save_model(str(trainer.args.output_dir))
    trainer.save_state()
    trainer.accelerator.print(f"Saved to {trainer.args.output_dir}.")
    return None


def _check_same_run(args: Any) -> None:
    """Compare the settings with those of the run in `output_dir`, if there is one, and write them down."""
    file = Path(args.output_dir) / "settings.json"
    settings = {name: value for name, value in args.to_dict().items() if name not in _NO_SETTINGS}
    settings = json.loads(json.dumps(settings, default=str))
    last = newest_complete(args.output_dir)
    if last is not None and file.is_file() and not args.resume_with_changes:
        earlier = json.loads(file.read_text("utf-8"))
        changes = [
            f"{name} {earlier.get(name)!r} -> {value!r}"
            for name, value in settings.items()
            if earlier.get(name) != value
        ]
        if changes:
            raise ValueError(
                f"{args.output_dir} holds a run with other settings ({'; '.join(changes)}). Choose another "
                "`--output_dir`, or delete that one."
            )
    if last is not None and int(last.name.rpartition("-")[2]) >= args.max_steps > 0:
        print(f"{args.output_dir} holds this run already, finished: nothing is left to train.")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(settings, indent=1), encoding="utf-8")


def silence_others() -> None:
    """Leave out bars of loading and preparing data, and other packages' deprecations, which are not the user's."""
    logging.disable_progress_bar()
    disable_progress_bars()
    others = r"(accelerate|datasets|peft|torch|transformers|trl)\b"
    for category in (DeprecationWarning, FutureWarning):
        warnings.filterwarnings("ignore", category=category, module=others)
    # torch says at every start that a CPU has no memory to pin.
    warnings.filterwarnings("ignore", "'pin_memory' argument is set as true but no accelerator is found")


def check_no_model_flags(model: ModelConfig) -> None:
    """Refuse flags for another model or an adapter in a recipe that brings its own model.

    Raises:
        ValueError: There are such flags.
    """
    # Silence would be worse than an error: the flags would have no effect.
    own = ModelConfig()
    given = [f"--{name}" for name, value in vars(model).items() if value != getattr(own, name)]
    if given:
        raise ValueError(
            f"This recipe trains the model that comes with the package: leave out {', '.join(given)}, or take another "
            "task, such as `mot-trl train gsm8k`."
        )


def _with_names(model: ModelConfig) -> ModelConfig:
    """Keep a single `--lora_target_modules` a list: TRL unpacks it, and PEFT reads a string as a pattern of paths."""
    single: Any = model.lora_target_modules
    if isinstance(single, str) and single.isidentifier():
        model.lora_target_modules = [single]
    return model


def _attention_for(model: ModelConfig) -> str | None:
    """Choose the fastest attention on a GPU; elsewhere leave the choice to transformers."""
    # Flash-attention exists on GPUs only, so elsewhere the config need not be loaded.
    if not torch.cuda.is_available():
        return None
    config = AutoConfig.from_pretrained(str(model.model_name_or_path), revision=model.model_revision)
    return choose_attention(config, dtype=model.dtype)
