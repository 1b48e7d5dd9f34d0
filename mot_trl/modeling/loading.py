"""Load models with the fastest attention at hand, and checkpoints with their adapter, tokenizer and decoder."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import PeftConfig, PeftModel, get_peft_model_state_dict
from peft.utils import load_peft_weights
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import is_flash_attn_2_available, is_flash_attn_3_available, is_kernels_available

ADAPTER_CONFIG = "adapter_config.json"
AMPERE, HOPPER = (8, 0), (9, 0)
HUB_KERNEL = "kernels-community/flash-attn2"
"""The kernel that the package `kernels` downloads where flash-attention is not installed."""


class Loaded(NamedTuple):
    """A checkpoint that can generate: `mixture` is the decoder config in its generation config, if it has one."""

    model: PreTrainedModel | PeftModel
    tokenizer: PreTrainedTokenizerBase
    mixture: dict[str, Any] | None


def load_model(
    name: str,
    *,
    attn_implementation: str = "auto",
    dtype: str | torch.dtype = "auto",
    device: str | torch.device | None = None,
    gradient_checkpointing: bool = False,
    **kwargs: Any,
) -> PreTrainedModel:
    """Load a causal language model, for training or for `mot_trl.generate`.

    Args:
        name: A folder, or a name on the hub.
        attn_implementation: One of transformers' own, or `auto`: see `choose_attention`.
        dtype: Of the weights; `auto` is that of the checkpoint.
        device: By default the first GPU, else the CPU.
        gradient_checkpointing: Recompute activations in the backward pass: less memory, more time. Trainers read their
            own config instead.
        kwargs: As for `from_pretrained`.
    """
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if attn_implementation == "auto":
        hub = {key: kwargs[key] for key in ("revision", "trust_remote_code", "cache_dir", "token") if key in kwargs}
        config = AutoConfig.from_pretrained(name, **hub)
        attn_implementation = choose_attention(config, dtype=dtype, device=place)
    load: Any = AutoModelForCausalLM.from_pretrained
    model = load(name, attn_implementation=attn_implementation, dtype=dtype, **kwargs).to(place)
    if gradient_checkpointing:
        model.gradient_checkpointing_enable()
    return model


def choose_attention(
    config: PretrainedConfig, *, dtype: str | torch.dtype | None = "auto", device: str | torch.device = "cuda"
) -> str:
    """Name the fastest attention available, for `attn_implementation`.

    Half-precision weights on a GPU, of a model that supports it, get flash-attention 3 on Hopper or 2 from Ampere on
    where installed, else the hub's kernel of 2 where the package `kernels` is. Everything else gets PyTorch's `sdpa`,
    or `eager` for models that have only that.
    """
    model: Any = AutoModelForCausalLM._model_mapping.get(type(config), None)
    fallback = "sdpa" if model is None or model._supports_sdpa else "eager"
    place = torch.device(device)
    chosen = config.dtype if dtype in (None, "auto") else dtype
    half = (getattr(torch, chosen) if isinstance(chosen, str) else chosen) in (torch.float16, torch.bfloat16)
    on_gpu = place.type == "cuda" and torch.cuda.is_available()
    if not on_gpu or not half or model is None or not model._supports_flash_attn:
        return fallback
    return _flash_attention(torch.cuda.get_device_capability(place)) or fallback


def load_checkpoint(
    path: str, *, base: str | None = None, dtype: str = "auto", device: torch.device | str = "cpu", **kwargs: Any
) -> Loaded:
    """Load a model, or an adapter on its base, with the tokenizer and the decoder config that it carries.

    Args:
        path: A folder, or a name on the hub; with `adapter_config.json` in it, an adapter.
        base: The adapter's base model, if it has moved from where the adapter's config says.
        kwargs: As for `load_model`, like `dtype` and `device`.

    Raises:
        FileNotFoundError: There is no such model.
        ValueError: The adapter does not fit its base, `base` is given for a full model, or there is no tokenizer.
    """
    folder = Path(path)
    if folder.is_dir() and not any((folder / name).is_file() for name in ("config.json", ADAPTER_CONFIG)):
        found = sorted(each.parent.name for each in folder.glob("*/config.json")) or "nothing that looks like one"
        raise FileNotFoundError(f"{path!r} holds neither config.json nor {ADAPTER_CONFIG}; below it: {found}.")
    config = _adapter_config(path)
    if config is None and base is not None:
        raise ValueError(f"{path!r} is no adapter (it has no {ADAPTER_CONFIG}), so leave `base` out.")
    source = path if config is None else str(base or config.base_model_name_or_path)
    model: Any = _found(load_model, source, dtype=dtype, device=device, **kwargs)
    # An adapter's own decoder config counts more than its base's, which may be from an earlier training.
    mixture = model.generation_config.to_dict().get("mixture")
    if config is not None:
        model = _with_adapter(model, path, source)
        mixture = embedded_decoder(folder) or mixture
    # Adapters are often saved without a tokenizer; they use their base's.
    own_tokenizer = not folder.is_dir() or (folder / "tokenizer_config.json").is_file()
    name = path if own_tokenizer else source
    try:
        tokenizer = _found(AutoTokenizer.from_pretrained, name)
    except ValueError as error:
        raise ValueError(f"{name!r} holds no tokenizer that transformers can read: {error}") from error
    return Loaded(model.to(device).eval(), tokenizer, mixture)


def embedded_decoder(folder: Path) -> dict[str, Any] | None:
    """The decoder config in an adapter's own generation config; transformers reads only the base's."""
    file = folder / "generation_config.json"
    return json.loads(file.read_text(encoding="utf-8")).get("mixture") if file.is_file() else None


def fingerprint(model: torch.nn.Module) -> str:
    """Digest of up to 127 weights of every parameter, which differs after any training step."""
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        digest.update(name.encode())
        some = parameter.detach().flatten()[:: max(1, parameter.numel() // 64)]
        digest.update(some.float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def _flash_attention(capability: tuple[int, int]) -> str | None:
    if capability < AMPERE:
        return None
    # Version 3 is compiled for Hopper alone: newer GPUs run version 2.
    if capability[0] == HOPPER[0] and is_flash_attn_3_available():
        return "flash_attention_3"
    if is_flash_attn_2_available():
        return "flash_attention_2"
    return HUB_KERNEL if is_kernels_available() else None


def _adapter_config(path: str) -> PeftConfig | None:
    folder = Path(path)
    if folder.is_dir():
        return PeftConfig.from_pretrained(path) if (folder / ADAPTER_CONFIG).is_file() else None
    try:
        return PeftConfig.from_pretrained(path)
    except (OSError, ValueError):
        # Either a full model or a wrong name; loading the model tells which.
        return None


def _found(load: Callable[..., Any], path: str, **kwargs: Any) -> Any:
    """Call `load(path)`; a path that does not exist raises `FileNotFoundError` instead of the hub's errors."""
    try:
        return load(path, **kwargs)
    except OSError as error:
        if Path(path).is_dir():
            raise
        raise FileNotFoundError(f"{path!r} is neither a local folder nor a model on the hub: {error}") from error


def _with_adapter(model: PreTrainedModel, path: str, base: str) -> PeftModel:
    advice = f"The adapter {path!r} was not made for {base!r}; name its base with `base`. It does not fit because"
    try:
        adapted = PeftModel.from_pretrained(model, path)
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{advice} {error}") from error
    # PEFT skips adapter weights that have no place in the base, with a warning at most, so names and shapes are
    # compared here: an adapter that is half applied would be evaluated as if it were whole.
    wanted = {(name, tensor.shape) for name, tensor in load_peft_weights(path, device="cpu").items()}
    placed = {(name, tensor.shape) for name, tensor in get_peft_model_state_dict(adapted).items()}
    if unmatched := sorted(wanted ^ placed):
        names = ", ".join(sorted({name for name, _ in unmatched})[:3])
        raise ValueError(f"{advice} {len(unmatched)} weights have no counterpart, such as {names}.")
    return adapted
