"""Loading a model with the fastest attention that its machine, its dtype and what is installed allow."""

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.utils import (
    is_flash_attn_2_available,
    is_flash_attn_3_available,
    is_kernels_available,
    logging,
)

logger = logging.get_logger(__name__)

HALF = (torch.float16, torch.bfloat16)
AMPERE, HOPPER = (8, 0), (9, 0)
HUB_KERNEL = "kernels-community/flash-attn2"
"""What the package `kernels` downloads where flash-attention is not installed."""


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
        name: A name on the hub, or a folder.
        attn_implementation: One of transformers' own, or `auto`: see `choose_attention`.
        dtype: Of the weights; `auto` is that of the checkpoint.
        device: By default the first GPU, else the CPU.
        gradient_checkpointing: Compute activations anew in the backward pass: less memory, more time. A trainer asks
            its config instead.
        kwargs: As for `from_pretrained`.
    """
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    hub = {key: kwargs[key] for key in ("revision", "trust_remote_code", "cache_dir", "token") if key in kwargs}
    config = AutoConfig.from_pretrained(name, **hub)
    if attn_implementation == "auto":
        attn_implementation = choose_attention(config, dtype=dtype, device=place)
    load: Any = AutoModelForCausalLM.from_pretrained
    model = load(name, attn_implementation=attn_implementation, dtype=dtype, **kwargs).to(place)
    if gradient_checkpointing:
        model.gradient_checkpointing_enable()
    return model


def choose_attention(
    config: PretrainedConfig, *, dtype: str | torch.dtype | None = "auto", device: str | torch.device = "cuda"
) -> str:
    """The name, for `attn_implementation`, of the fastest attention that can be had.

    Flash-attention 3 on Hopper or 2 from Ampere on, where installed; else the hub's kernel of 2, where the package
    `kernels` is; all of them for half-precision weights and models that support them. Else PyTorch's own, `sdpa`; and
    `eager` for models that have only that.

    Args:
        config: The model's.
        dtype: Of the weights, as `from_pretrained` takes it.
        device: Where the model will be.
    """
    kind = type(config)
    model: Any = AutoModelForCausalLM._model_mapping.get(kind, None)
    plain = "sdpa" if model is None or model._supports_sdpa else "eager"
    place = torch.device(device)
    if place.type != "cuda" or not torch.cuda.is_available() or _dtype(config, dtype) not in HALF:
        return plain
    if model is None or not model._supports_flash_attn:
        return plain
    return _fastest(torch.cuda.get_device_capability(place)) or plain


def _fastest(capability: tuple[int, int]) -> str | None:
    """The flash-attention for a GPU of this compute capability; None if there is none."""
    if capability < AMPERE:
        return None
    if capability[0] == HOPPER[0] and is_flash_attn_3_available():
        return "flash_attention_3"
    if is_flash_attn_2_available():
        return "flash_attention_2"
    return HUB_KERNEL if is_kernels_available() else None


def _dtype(config: PretrainedConfig, dtype: str | torch.dtype | None) -> torch.dtype:
    chosen = config.dtype if dtype in (None, "auto") else dtype
    return getattr(torch, chosen) if isinstance(chosen, str) else chosen or torch.float32
