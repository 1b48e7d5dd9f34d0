"""Loading what is to be evaluated: a model, sharded or not, or a PEFT adapter on its base, with the tokenizer."""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import PeftConfig, PeftModel, get_peft_model_state_dict
from peft.utils import load_peft_weights
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

ADAPTER_CONFIG = "adapter_config.json"


class Loaded(NamedTuple):
    """A model that can generate.

    Attributes:
        model: In evaluation mode.
        tokenizer: Its tokenizer.
        mixture: The decoder's settings that its generation config carries, as plain data; None if it carries none.
    """

    model: PreTrainedModel | PeftModel
    tokenizer: PreTrainedTokenizerBase
    mixture: dict[str, Any] | None


def load(
    path: str, *, base: str | None = None, dtype: str = "auto", device: torch.device | str = "cpu", **kwargs: Any
) -> Loaded:
    """Load a model, or an adapter with its base.

    Args:
        path: A folder, or a name on the hub; with `adapter_config.json` in it, an adapter.
        base: The adapter's base, where it is not at the place that the adapter names.
        dtype: Of the weights: `auto` (as saved), `bfloat16`, `float16` or `float32`.
        device: Where to put it.
        kwargs: As for transformers' `from_pretrained`.

    Raises:
        FileNotFoundError: There is no such model.
        ValueError: The adapter does not fit its base, `base` is given for what is none, or there is no tokenizer.
    """
    folder = Path(path)
    if folder.is_dir() and not any((folder / name).is_file() for name in ("config.json", ADAPTER_CONFIG)):
        found = sorted(each.parent.name for each in folder.glob("*/config.json")) or "nothing that looks like one"
        raise FileNotFoundError(f"{path!r} holds neither config.json nor {ADAPTER_CONFIG}; below it: {found}.")
    config = _adapter_config(path)
    if config is None and base is not None:
        raise ValueError(f"{path!r} is no adapter (it has no {ADAPTER_CONFIG}), so leave `base` out.")
    source = path if config is None else str(base or config.base_model_name_or_path)
    model = _from_pretrained(AutoModelForCausalLM, source, dtype=dtype, **kwargs)
    mixture = model.generation_config.to_dict().get("mixture")
    if config is not None:
        model = _with_adapter(model, path, source)
        mixture = embedded_decoder(folder) or mixture
    own_tokenizer = not folder.is_dir() or (folder / "tokenizer_config.json").is_file()
    tokenizer = _tokenizer(path if own_tokenizer else source)
    return Loaded(model.to(device).eval(), tokenizer, mixture)


def fingerprint(model: torch.nn.Module) -> str:
    """A digest of a few weights of every parameter: another training step, another fingerprint."""
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        digest.update(name.encode())
        some = parameter.detach().flatten()[:: max(1, parameter.numel() // 64)]
        digest.update(some.float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def _adapter_config(path: str) -> PeftConfig | None:
    folder = Path(path)
    if folder.is_dir():
        return PeftConfig.from_pretrained(path) if (folder / ADAPTER_CONFIG).is_file() else None
    try:
        return PeftConfig.from_pretrained(path)
    except (OSError, ValueError):
        return None  # a model, or nothing at all, which loading it will tell


def _from_pretrained(kind: Any, path: str, **kwargs: Any) -> Any:
    try:
        return kind.from_pretrained(path, **kwargs)
    except OSError as error:
        if Path(path).is_dir():
            raise
        raise FileNotFoundError(
            f"{path!r} is neither a folder here nor a model that the hub gives out: {error}"
        ) from error


def _tokenizer(path: str) -> PreTrainedTokenizerBase:
    try:
        return _from_pretrained(AutoTokenizer, path)
    except ValueError as error:
        raise ValueError(f"{path!r} holds no tokenizer that transformers can read: {error}") from error


def _with_adapter(model: PreTrainedModel, path: str, base: str) -> PeftModel:
    advice = f"The adapter {path!r} was not made for {base!r}; name its base with `base`. It does not fit because"
    try:
        adapted = PeftModel.from_pretrained(model, path)
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{advice} {error}") from error
    # PEFT leaves out, with a warning at most, what has no place in the base.
    wanted = {name: tensor.shape for name, tensor in load_peft_weights(path, device="cpu").items()}
    placed = {name: tensor.shape for name, tensor in get_peft_model_state_dict(adapted).items()}
    if astray := sorted(wanted.items() ^ placed.items()):
        names = ", ".join(sorted({name for name, _ in astray})[:3])
        raise ValueError(f"{advice} {len(astray)} weights have no counterpart, such as {names}.")
    return adapted


def embedded_decoder(folder: Path) -> dict[str, Any] | None:
    """What an adapter's own generation config says; transformers reads the base's."""
    file = folder / "generation_config.json"
    return json.loads(file.read_text(encoding="utf-8")).get("mixture") if file.is_file() else None
