"""Matrix products of the decoding loop on a CPU."""

from collections.abc import Generator
from contextlib import contextmanager
from types import MethodType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

# Smaller layers gain nothing: what they take is spent around the product.
LEAST_WEIGHTS = 2**18


@contextmanager
def onednn_linears(model: nn.Module) -> Generator[None]:
    """Let the model's large linear layers multiply with oneDNN where PyTorch would use MKL: float32, on a CPU.

    Decoding is nearly all matrix products, of a few rows each. MKL uses AVX-512 on Intel's processors alone, oneDNN on
    all that have it, and was twice as fast on one of AMD's. The sums are the same up to float32's rounding. For calls
    without gradient only; `torch.backends.mkldnn.enabled = False` turns it off.
    """
    layers: list[Any] = [module for module in model.modules() if _is_plain(module)] if _has_onednn() else []
    for layer in layers:
        layer.forward = MethodType(_forward, layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _has_onednn() -> bool:
    onednn: Any = torch.backends.mkldnn
    return onednn.is_available() and onednn.enabled and torch.backends.cpu.get_cpu_capability() == "AVX512"


def _is_plain(module: nn.Module) -> bool:
    """Whether a layer is PyTorch's own, as it was made: not quantised, sharded or parametrised, and without a hook."""
    if type(module) is not nn.Linear or "forward" in vars(module):
        return False
    weight = module.weight
    on_cpu = type(weight) is nn.Parameter and weight.device.type == "cpu"
    return on_cpu and weight.dtype == torch.float32 and weight.numel() >= LEAST_WEIGHTS


def _forward(layer: nn.Linear, inputs: Float[Tensor, "*N I"]) -> Float[Tensor, "*N O"]:
    if inputs.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
        return F.linear(inputs, layer.weight, layer.bias)
    # What PyTorch's own compiler puts in a linear layer's place.
    return torch.ops.mkldnn._linear_pointwise(inputs, layer.weight, layer.bias, "none", [], "")
