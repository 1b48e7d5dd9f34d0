"""Checkpoints that carry their decoder: they think in mixtures with transformers and torch alone."""

from collections.abc import Mapping
from pathlib import Path
from pprint import pformat
from typing import TYPE_CHECKING, Any

from transformers import GenerationConfig
from transformers.utils import logging

from mot_trl import card
from mot_trl.flatten import flatten
from mot_trl.settings import DecoderSettings, name_of

if TYPE_CHECKING:
    from mot_trl.trainer import MoTGRPOTrainer

logger = logging.get_logger(__name__)

# What generation takes over from training, beside the decoder.
SAMPLING = ("do_sample", "max_new_tokens", "temperature", "top_p", "top_k", "min_p", "repetition_penalty")
ORDINARY = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}

REQUIREMENTS = "torch>=2.9\ntransformers>=5.23\n"
HEADER = '''"""Thinks in mixtures of tokens: transformers calls `generate` for `custom_generate="<this checkpoint>"`.

Written by mot_trl, from its own source files; Apache License 2.0. Needs torch and transformers.
"""
'''


def carry_decoder(
    directory: str | Path,
    settings: DecoderSettings,
    *,
    sampling: Mapping[str, Any] | None = None,
    generation_config: GenerationConfig | None = None,
) -> None:
    """Write a decoder into a checkpoint's folder: `custom_generate/`, and the settings in `generation_config.json`.

    Then `model.generate(..., custom_generate=directory, trust_remote_code=True)` generates as `settings` say, where
    `model` is the one saved there or, if an adapter is, its base with the adapter.

    Args:
        directory: Holds a saved model or adapter.
        settings: What the decoder is made of.
        sampling: Temperature and the like, by transformers' names; by default ordinary sampling from p.
        generation_config: What to start from, where the folder holds none; an adapter's does not.

    Raises:
        FileNotFoundError: There is no such folder.
    """
    folder = Path(directory)
    if not folder.is_dir():
        raise FileNotFoundError(f"{str(directory)!r} is not a folder; save the model there first.")
    chosen = {**ORDINARY, **(sampling or {})}
    chosen = {name: chosen[name] for name in SAMPLING if chosen.get(name) is not None}
    code = folder / "custom_generate"
    code.mkdir(exist_ok=True)
    (code / "generate.py").write_text(decoder_source(settings, chosen), encoding="utf-8")
    (code / "requirements.txt").write_text(REQUIREMENTS, encoding="utf-8")
    config = generation_config or GenerationConfig()
    if (folder / "generation_config.json").is_file():
        config = GenerationConfig.from_pretrained(folder)
    # A config that says it was made from a model's drops what it does not know.
    plain = {name: value for name, value in config.to_dict().items() if name != "_from_model_config"}
    GenerationConfig(**{**plain, **chosen, "mixture": settings.to_dict()}).save_pretrained(folder)


def decoder_source(settings: DecoderSettings, sampling: Mapping[str, Any]) -> str:
    """The file `custom_generate/generate.py`: the library's decoder in one file, with these settings."""
    carried = pformat({"mixture": settings.to_dict(), "sampling": dict(sampling)}, width=110, sort_dicts=False)
    return f"{HEADER}\n{flatten('mot_trl.carried', 'generate')}\n\nCARRIED |= {carried}\n"


def carry_trained(trainer: "MoTGRPOTrainer", directory: str | Path) -> None:
    """Write a trainer's decoder into the folder that it has saved its model to, and describe it in the model card.

    A strategy of the user's own has no name that a checkpoint could carry: then there is a warning, and no decoder.
    """
    model: Any = trainer.accelerator.unwrap_model(trainer.model)
    try:
        carry_decoder(
            directory,
            trained_settings(trainer),
            sampling=trainer.generation_kwargs,
            generation_config=model.generation_config,
        )
    except (OSError, ValueError) as error:
        # The weights are saved by now, and worth more than what is not.
        logger.warning(f"{directory} carries no decoder: {error}")
    describe_trained(trainer, directory)


def describe_trained(trainer: "MoTGRPOTrainer", directory: str | Path) -> None:
    """Write the section about mixtures into the model card of the folder."""
    try:
        card.describe(trainer, trained_settings(trainer), Path(directory) / "README.md")
    except (OSError, ValueError) as error:
        logger.warning(f"The model card of {directory} says nothing of mixtures: {error}")


def trained_settings(trainer: "MoTGRPOTrainer") -> DecoderSettings:
    """What a trainer's decoder is made of.

    Raises:
        ValueError: Its strategy is none of the library's.
    """
    args: Any = trainer.args
    name, options = name_of(trainer.strategy)
    return DecoderSettings(
        strategy=name,
        strategy_kwargs=options,
        mixture_score=trainer.mixture_score,
        stop_text=args.stop_text,
        start_text=args.start_text,
        max_mixture_tokens=args.max_mixture_tokens,
        cold_stop_threshold=args.cold_stop_threshold,
        cold_stop_patience=args.cold_stop_patience or 256,
    )
