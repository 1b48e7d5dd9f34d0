"""Matrix products on a CPU."""

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import copy, deepcopy
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from mot_trl.modeling.distributed import is_sharded
from mot_trl.modeling.memory import available_memory

# A layer with less than either gains nothing: what it takes is spent around the product.
LEAST_WEIGHTS, LEAST_WORK = 2**18, 2**21
LEAST_PACKED_WORK = 2**19

# Copies of the weights take at most this share of the memory that is left.
PACKED_SHARE = 0.25


@contextmanager
def onednn_linears(*models: nn.Module, packed: bool = False) -> Generator[None]:
    """Let the models' linear layers multiply with oneDNN where PyTorch would use MKL: float32, on a CPU.

    Decoding and training are nearly all matrix products. MKL uses AVX-512 on Intel's processors alone, oneDNN on all
    that have it, and was twice as fast on one of AMD's, forward and backward. The sums are the same up to float32's
    rounding. `torch.backends.mkldnn.enabled = False` turns it off.

    A backward pass, which may compute layers once more, belongs inside as well.

    Args:
        models: Those with the layers.
        packed: For many passes over few rows without gradient, while no weight changes: keep a copy of each layer's
            weights in oneDNN's own order, which it otherwise brings them into at each product. That costs as much time
            as about twenty such products save. The weights stay as they are where their copies would take more than a
            quarter of the memory that is left.
    """
    layers: set[Any] = set()
    if _has_onednn():
        layers = {module for model in models for module in model.modules() if _is_plain(module)}
    size = sum(layer.weight.nbytes for layer in layers)
    packed = packed and size <= PACKED_SHARE * available_memory()
    # A rollout within a training step is one of these within another.
    outer = {layer: vars(layer).get("forward") for layer in layers}
    try:
        for layer in layers:
            layer.forward = _Forward(layer, packs=packed)
        yield
    finally:
        for layer, forward in outer.items():
            if forward is not None:
                layer.forward = forward
            elif "forward" in vars(layer):
                del layer.forward


def without_version_counters(model: nn.Module) -> Callable[[], AbstractContextManager[None]]:
    """Contexts in which a model spares what autograd notes of each operation: versions, and whose view a tensor is.

    That is a good part of a small model's time on a CPU. Nothing inside has a gradient, whatever it asks for, as in
    `torch.inference_mode`; but what comes out are ordinary tensors, and a model may keep some for training. On other
    devices, and where layers are compiled or gather sharded weights, which rely on these notes, nothing is spared.
    """
    guard = getattr(torch._C, "_AutoDispatchBelowADInplaceOrView", None)
    on_cpu = all(weight.device.type == "cpu" for weight in model.parameters())
    return nullcontext if guard is None or not on_cpu or is_sharded(model) or is_compiled(model) else guard


def is_compiled(model: nn.Module) -> bool:
    """Whether `torch.compile` has anything to do with the model or a layer of it."""
    return any(
        module._compiled_call_impl is not None or hasattr(vars(module).get("forward"), "_torchdynamo_orig_callable")
        for module in model.modules()
    )


def _has_onednn() -> bool:
    onednn: Any = torch.backends.mkldnn
    return onednn.is_available() and onednn.enabled and torch.backends.cpu.get_cpu_capability() == "AVX512"


def _is_plain(module: nn.Module) -> bool:
    """Whether a layer is PyTorch's own, as it was made: not quantised, sharded or parametrised, and without a hook."""
    if type(module) is not nn.Linear or not isinstance(vars(module).get("forward"), _Forward | None):
        return False
    weight = module.weight
    is_whole = type(weight) is nn.Parameter and weight.shape == (module.out_features, module.in_features)
    return is_whole and weight.device.type == "cpu" and weight.dtype == torch.float32


class _Forward:
    """A layer's `forward`."""

    def __init__(self, layer: nn.Linear, *, packs: bool) -> None:
        self.layer, self.packs = layer, packs
        self.least_work = 1 if layer.weight.numel() >= LEAST_WEIGHTS else LEAST_PACKED_WORK if packs else LEAST_WORK
        self.packed: Tensor | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Forward":
        """A copy of the model has no end to its rollouts, so it packs nothing."""
        other = copy(self)
        other.layer, other.packs, other.packed = deepcopy(self.layer, memo), False, None
        return other

    def __call__(self, input: Float[Tensor, "*N I"]) -> Float[Tensor, "*N O"]:
        layer, inputs = self.layer, input
        # Experts may be given no tokens, of which oneDNN makes no gradient.
        is_small = inputs.numel() * layer.out_features < self.least_work
        if is_small or inputs.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
            return F.linear(inputs, layer.weight, layer.bias)
        if torch.is_grad_enabled():
            # Rows, since the product of more dimensions is a view, which a model could not change in place.
            outputs = _Linear.apply(inputs.reshape(-1, layer.in_features), layer.weight, layer.bias)
            return outputs.view(*inputs.shape[:-1], layer.out_features)
        if self.packs and self.packed is None:
            self.packed = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach())
        return _product(inputs, layer.weight if self.packed is None else self.packed, layer.bias)


class _Linear(torch.autograd.Function):
    """`inputs @ weight.T + bias`, whose backward pass multiplies with oneDNN too."""

    @staticmethod
    def forward(
        ctx: Any, inputs: Float[Tensor, "N I"], weight: Float[Tensor, "O I"], bias: Float[Tensor, " O"] | None
    ) -> Float[Tensor, "N O"]:
        """Multiply."""
        ctx.save_for_backward(inputs, weight)
        return _product(inputs, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of those inputs that want one."""
        inputs, weight = ctx.saved_tensors
        wants_inputs, wants_weight, wants_bias = ctx.needs_input_grad
        (grads,) = grad_outputs
        grad_inputs = _product(grads, weight.T) if wants_inputs else None
        grad_weight = _product(grads.T, inputs.T) if wants_weight else None
        return grad_inputs, grad_weight, grads.sum(dim=0) if wants_bias else None


def _product(
    inputs: Float[Tensor, "*N I"], weight: Float[Tensor, "O I"], bias: Float[Tensor, " O"] | None = None
) -> Float[Tensor, "*N O"]:
    # What PyTorch's own compiler puts in a linear layer's place.
    return torch.ops.mkldnn._linear_pointwise(inputs, weight, bias, "none", [], "")
