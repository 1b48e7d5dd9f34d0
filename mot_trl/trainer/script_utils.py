"""Shared parts of the recipes: read the command line, train, save."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, IterableDataset
from transformers import AutoConfig, PrinterCallback, ProgressCallback
from trl import ModelConfig, TrlParser, get_peft_config, get_quantization_config

from mot_trl.generation.config import resolve
from mot_trl.modeling.loading import choose_attention
from mot_trl.strategies.presets import PRESETS
from mot_trl.trainer.callbacks import ProgressLines, SaveOnInterrupt
from mot_trl.trainer.config import DECODER_FLAGS, MoTGRPOConfig, as_flags, flag, given_settings
from mot_trl.trainer.grpo_trainer import MoTGRPOTrainer


@dataclass
class ScriptArguments:
    """Where a recipe's rows come from, and an optional LLM judge."""

    data_path: str | None = flag("Local file or folder of the dataset; by default it comes from the hub.")
    judge: str | None = flag("Model that judges the answers which the rules do not know; none by default.")
    judge_base_url: str | None = flag("Address of an OpenAI-compatible server; by default OpenAI's.")


def parse(defaults: Mapping[str, Any], data: type = ScriptArguments) -> tuple[MoTGRPOConfig, ModelConfig, Any]:
    """Read the command line, and `--config FILE` as TRL does, over a recipe's defaults.

    `--experiment_name`, `--mixture_k`, `--loss_on_all_tokens` and `--normal_generation` work on every recipe, and so
    do all of TRL's flags. Settings of the decoder override those of the file, and these the recipe's, by the rule of
    `mot_trl.generation.config.resolve`.
    """
    dataclasses: Any = (MoTGRPOConfig, ModelConfig, data)
    parser: Any = _RecipeParser(dataclasses)
    if unknown := parser.set_defaults_with_config(**defaults):
        raise ValueError(f"No setting takes these defaults of the recipe: {' '.join(unknown)}.")
    return parser.parse_args_and_config()


class _RecipeParser(TrlParser):
    """TRL's parser, which keeps apart what recipe, file and flags say about the decoder.

    TRL's replaces values key by key, so that a strategy on the command line would get the options of another one.
    """

    def __init__(self, dataclasses: Any) -> None:
        super().__init__(dataclasses)
        self._layers: list[dict[str, Any]] = []

    def set_defaults_with_config(self, **settings: Any) -> list[str]:
        """Keep the decoder's settings for later; TRL calls this with what a file says."""
        self._layers.append({name: settings.pop(name) for name in DECODER_FLAGS if name in settings})
        return super().set_defaults_with_config(**settings)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, and resolve the decoder's settings from all layers."""
        parsed, remaining = super().parse_known_args(args, namespace)
        given = [*self._layers, vars(parsed)]
        layers = [given_settings(layer) for layer in given]
        decoder = resolve(*layers)
        presets = [None, *(layer["experiment_name"] for layer in layers if "experiment_name" in layer)]
        flags = as_flags(decoder) | {"experiment_name": presets[-1]}
        # Where a later layer has changed the strategy, nothing is left of the preset but a name that misleads.
        if presets[-1] is not None and PRESETS[presets[-1]].strategy != decoder.strategy:
            flags["experiment_name"] = None
        expected = decoder.mixture_score == "expected"
        flags["loss_on_all_tokens"] = expected and any(layer.get("loss_on_all_tokens") for layer in given)
        for name, value in flags.items():
            setattr(parsed, name, value)
        return parsed, remaining


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
    # transformers reads the flag only as an argument of `train`.
    trainer.train(resume_from_checkpoint=config.resume_from_checkpoint)
    trainer.save_model(config.output_dir)
    trainer.save_state()
    trainer.accelerator.print(f"Saved to {config.output_dir}.")
    trainer.end()
    return trainer


def train_resumable(trainer: MoTGRPOTrainer) -> Path:
    """Train, or resume from the run's last checkpoint, with a line of progress at each log; return the model's folder.

    Raises:
        SystemExit: After Ctrl-C, with a checkpoint from which the same call resumes.
    """
    folder = Path(str(trainer.args.output_dir))
    # Their bars and dicts would interleave with the lines.
    for other in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(other)
    trainer.add_callback(ProgressLines())
    trainer.add_callback(SaveOnInterrupt())
    trainer.train(resume_from_checkpoint="latest")
    if trainer.state.global_step < trainer.state.max_steps:
        raise SystemExit(f"Stopped after step {trainer.state.global_step}; run the same command to resume.")
    trainer.save_model(str(folder))
    trainer.save_state()
    return folder


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
            "recipe, such as recipes/gsm8k.py."
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
