"""Checkpoints that carry their decoder: they think in mixtures with transformers and torch alone."""

from collections.abc import Mapping
from pathlib import Path
from pprint import pformat
from typing import Any

from transformers import GenerationConfig

from mot_trl.generation.bundle import flatten
from mot_trl.generation.config import DecoderConfig

# What generation takes over from training, beside the decoder.
SAMPLING = ("do_sample", "max_new_tokens", "temperature", "top_p", "top_k", "min_p", "repetition_penalty")
ORDINARY = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}

REQUIREMENTS = "torch>=2.9\ntransformers>=5.23\n"
HEADER = '''"""Thinks in mixtures of tokens: transformers calls `generate` for `custom_generate="<this checkpoint>"`.

Written by mot_trl, from its own source files; Apache License 2.0. Needs torch and transformers.
"""
'''


def write_custom_generate(
    directory: str | Path,
    settings: DecoderConfig,
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


def decoder_source(settings: DecoderConfig, sampling: Mapping[str, Any]) -> str:
    """The file `custom_generate/generate.py`: the library's decoder in one file, with these settings."""
    carried = pformat({"mixture": settings.to_dict(), "sampling": dict(sampling)}, width=110, sort_dicts=False)
    return f"{HEADER}\n{flatten('mot_trl.generation.checkpoint_entry', 'generate')}\n\nEMBEDDED_CONFIG |= {carried}\n"
