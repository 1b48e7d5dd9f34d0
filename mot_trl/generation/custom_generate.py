"""Export the decoder into a checkpoint folder, where transformers finds it as `custom_generate`."""

import inspect
import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from pprint import pformat
from typing import Any

from transformers import GenerationConfig

from mot_trl.generation.config import DecoderConfig

# The training-time sampling settings that become the checkpoint's defaults for generation.
SAMPLING = ("do_sample", "max_new_tokens", "temperature", "top_p", "top_k", "min_p", "repetition_penalty")

ENTRY = "mot_trl.generation.checkpoint_entry"

# Shape annotations are evaluated when a module is imported, so their names must exist where jaxtyping does not.
JAXTYPING = '''"""Stand-in for jaxtyping: `Float[Tensor, "B C"]` is `Tensor`."""


class _Array:
    def __class_getitem__(cls, item: tuple) -> object:
        return item[0]


def __getattr__(name: str) -> type:
    return _Array
'''

# The form in which the library imports its own names, and the only one that transformers' loader follows.
_IMPORT = re.compile(r"^(\s*from )(jaxtyping|mot_trl[\w.]*)(?= import\b)", re.MULTILINE)


def write_custom_generate(
    directory: str | Path,
    config: DecoderConfig,
    *,
    sampling: Mapping[str, Any] | None = None,
    generation_config: GenerationConfig | None = None,
) -> None:
    """Write a decoder into a checkpoint folder: `custom_generate/`, and its settings in `generation_config.json`.

    Afterwards `model.generate(..., custom_generate=directory, trust_remote_code=True)` generates as `config` says, and
    needs torch and transformers alone. The model of an adapter's folder is its base with the adapter.

    Args:
        sampling: Temperature and so on, by transformers' names; by default sampling from p, untruncated.
        generation_config: The config to extend if the folder holds none, as an adapter's folder does not.

    Raises:
        FileNotFoundError: There is no such folder.
        OSError: A file cannot be written, or the library's source files are not installed.
    """
    folder = Path(directory)
    if not folder.is_dir():
        raise FileNotFoundError(f"{str(directory)!r} is not a folder; save the model there first.")
    # Sampling from p itself: transformers' own default is `top_k=50`.
    options = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0, **(sampling or {})}
    options = {name: options[name] for name in SAMPLING if options.get(name) is not None}
    (folder / "custom_generate").mkdir(exist_ok=True)
    for name, text in decoder_files(config, options).items():
        (folder / "custom_generate" / name).write_text(text, encoding="utf-8")
    base = generation_config or GenerationConfig()
    if (folder / "generation_config.json").is_file():
        base = GenerationConfig.from_pretrained(folder)
    # A config marked as derived from a model's config drops keys it does not know, `mixture` among them.
    kept = {name: value for name, value in base.to_dict().items() if name != "_from_model_config"}
    GenerationConfig(**{**kept, **options, "mixture": config.to_dict()}).save_pretrained(folder)


def decoder_files(config: DecoderConfig, sampling: Mapping[str, Any]) -> dict[str, str]:
    """All files of a `custom_generate` folder, by name.

    They are the library's own source files, as far as `checkpoint_entry` imports them, in one flat folder.
    `generate.py`, the one that transformers looks for, is `checkpoint_entry` with these settings appended.
    """
    files = {"requirements.txt": "torch>=2.9\ntransformers>=5.17\n"}
    pending = [ENTRY]
    while pending:
        module = pending.pop()
        name = f"{_flat_name(module)}.py"
        if name in files:
            continue
        text = JAXTYPING
        if module != "jaxtyping":
            origin = f"# Copied by mot_trl from {module.replace('.', '/')}; Apache License 2.0.\n"
            text = origin + inspect.getsource(import_module(module))
        pending += [imported for _, imported in _IMPORT.findall(text)]
        files[name] = _IMPORT.sub(lambda match: f"{match[1]}.{_flat_name(match[2])}", text)
    settings = pformat({"mixture": config.to_dict(), "sampling": dict(sampling)}, width=110, sort_dicts=False)
    files["generate.py"] += f"\nEMBEDDED_CONFIG |= {settings}\n"
    return files


def _flat_name(module: str) -> str:
    """`mot_trl.strategies.top_k` as `strategies_top_k`: transformers copies files of one folder only."""
    return "generate" if module == ENTRY else module.removeprefix("mot_trl.").replace(".", "_")
