"""Run linear layers on oneDNN instead of MKL, in float32 on a CPU."""

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from mot_trl.modeling.distributed import is_sharded
from mot_trl.modeling.patching import MethodPatch

try:
    import psutil  # accelerate brings it to training; a checkpoint that generates without it packs no weights
except ImportError:
    psutil: Any = None

# Measured: in layers with fewer weights, less work than this costs more around the product than oneDNN saves in it.
MIN_WEIGHTS, MIN_WORK, MIN_PACKED_WORK = 2**18, 2**21, 2**19

# Files of a control group's limit and usage, by its line in /proc/self/cgroup: version 2 names no controller there.
LIMITS = {"": ("memory.max", "memory.current"), "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes")}


@contextmanager
def onednn_linears(*models: nn.Module, packed: bool = False) -> Generator[None]:
    """Let the models' linear layers multiply with oneDNN where PyTorch would use MKL: float32, on a CPU.

    Decoding and training are nearly all matrix products. MKL uses AVX-512 on Intel's processors alone, oneDNN on all
    that have it, and was twice as fast on one of AMD's, forward and backward. The sums are the same up to float32's
    rounding; `torch.backends.mkldnn.enabled = False` turns it off. Run the backward pass inside: it may recompute.

    Args:
        packed: For many passes over few rows without gradient, while no weight changes: keep a copy of each layer's
            weights in oneDNN's own order, which pays after about twenty products. Ignored where the copies would take
            more than a quarter of the available memory.
    """
    modules = {module for model in models for module in model.modules()} if _has_onednn() else ()
    layers: list[Any] = [module for module in modules if _is_plain(module)]
    packed = packed and sum(layer.weight.nbytes for layer in layers) <= available_memory() / 4
    with ExitStack() as patches:
        for layer in layers:
            patch = patches.enter_context(_Forward.on(layer))
            if packed:
                patches.enter_context(patch.packing())
        yield


def without_version_counters(model: nn.Module) -> Callable[[], AbstractContextManager[None]]:
    """Contexts in which autograd keeps no record of a model's operations: neither tensors' versions nor their views.

    That record takes a good part of a small model's time on a CPU. Nothing inside has a gradient, as in
    `torch.inference_mode`; but what comes out are ordinary tensors, and a model may keep some for training. On other
    devices, and where layers are compiled or gather sharded weights, which rely on the record, it is kept.
    """
    # Private to PyTorch, which uses it around kernels whose results it wraps itself, so it may go in any release.
    guard = getattr(torch._C, "_AutoDispatchBelowADInplaceOrView", None)
    on_cpu = all(weight.device.type == "cpu" for weight in model.parameters())
    return nullcontext if guard is None or not on_cpu or is_sharded(model) or is_compiled(model) else guard


def is_compiled(model: nn.Module) -> bool:
    """Whether the model or a layer of it is compiled by `torch.compile`."""
    return any(
        module._compiled_call_impl is not None or hasattr(vars(module).get("forward"), "_torchdynamo_orig_callable")
        for module in model.modules()
    )


def available_memory(root: Path = Path("/")) -> int:
    """Bytes of main memory left without swapping, within the limits of the process's control groups.

    0 where psutil is missing. `root` is where `proc` and `sys` are mounted.
    """
    available = [psutil.virtual_memory().available if psutil else 0]
    own = root / "proc/self/cgroup"
    lines = own.read_text().splitlines() if own.is_file() else []
    for _, controller, name in (line.split(":", 2) for line in lines):
        if controller not in LIMITS:
            continue
        # The tightest limit of a batch job may be that of any group above its own. Inside a container the group's
        # name is often that of the host, and only the mount itself exists.
        mount = root / "sys/fs/cgroup" / controller
        group = mount / name.lstrip("/")
        for folder in (group, *group.parents[: len(group.parts) - len(mount.parts)]):
            numbers = [(folder / file).read_text().strip() for file in LIMITS[controller] if (folder / file).is_file()]
            if len(numbers) == 2 and numbers[0] != "max":
                available.append(int(numbers[0]) - int(numbers[1]))
    return max(0, min(available))


def _has_onednn() -> bool:
    # The gain is AVX-512 on processors where MKL leaves it unused; without it there is none.
    onednn: Any = torch.backends.mkldnn
    return onednn.is_available() and onednn.enabled and torch.backends.cpu.get_cpu_capability() == "AVX512"


def _is_plain(module: nn.Module) -> bool:
    """Whether a layer is PyTorch's own, unmodified: not quantized, sharded, parametrized or patched."""
    if type(module) is not nn.Linear or not isinstance(vars(module).get("forward"), _Forward | None):
        return False
    weight = module.weight
    # FSDP and ZeRO-3 leave parameters of another type or of an empty shape while they hold a layer's weights.
    is_whole = type(weight) is nn.Parameter and weight.shape == (module.out_features, module.in_features)
    return is_whole and weight.device.type == "cpu" and weight.dtype == torch.float32


class _Forward(MethodPatch):
    """A layer's `forward`, which chooses between oneDNN and PyTorch at each call."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self.packers: list[object] = []
        # The packed weights, and the version of the layer's own that they were packed from.
        self.packed: tuple[Tensor, int] | None = None

    @property
    def packs(self) -> bool:
        """Whether a call under way wants packed weights."""
        return bool(self.packers)

    @contextmanager
    def packing(self) -> Generator[None]:
        """Use packed weights; the last to leave drops them."""
        packer = object()
        self.packers.append(packer)
        try:
            yield
        finally:
            self.packers.remove(packer)
            if not self.packers:
                self.packed = None

    def __call__(self, input: Float[Tensor, "*N I"]) -> Float[Tensor, "*N O"]:
        layer: Any = self.module
        inputs, packs = input, self.packs
        least = 1 if layer.weight.numel() >= MIN_WEIGHTS else MIN_PACKED_WORK if packs else MIN_WORK
        # No work at all counts as little: experts may get no tokens, for which oneDNN computes no gradient.
        is_small = inputs.numel() * layer.out_features < least
        if is_small or inputs.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
            return F.linear(inputs, layer.weight, layer.bias)
        if torch.is_grad_enabled():
            # In two dimensions, and viewed as more outside: what a custom function returns as a view, a model could
            # not change in place.
            outputs = _Linear.apply(inputs.reshape(-1, layer.in_features), layer.weight, layer.bias)
            return outputs.view(*inputs.shape[:-1], layer.out_features)
        return _product(inputs, self._pack() if packs else layer.weight, layer.bias)

    def _pack(self) -> Tensor:
        # Packed at the first product, so that layers that are never called take no memory; and again once an optimizer
        # has changed the weights, as one in another thread may.
        weight: Any = self.module.weight
        packed = self.packed
        if packed is None or packed[1] != weight._version:
            packed = self.packed = (torch.ops.mkldnn._reorder_linear_weight(weight.detach()), weight._version)
        return packed[0]


class _Linear(torch.autograd.Function):
    """`inputs @ weight.T + bias`, whose backward pass multiplies with oneDNN too."""

    @staticmethod
    def forward(
        ctx: Any, inputs: Float[Tensor, "N I"], weight: Float[Tensor, "O I"], bias: Float[Tensor, " O"] | None
    ) -> Float[Tensor, "N O"]:
        ctx.save_for_backward(inputs, weight)
        return _product(inputs, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weight = ctx.saved_tensors
        wants_inputs, wants_weight, wants_bias = ctx.needs_input_grad
        (grads,) = grad_outputs
        grad_inputs = _product(grads, weight.T) if wants_inputs else None
        grad_weight = _product(grads.T, inputs.T) if wants_weight else None
        return grad_inputs, grad_weight, grads.sum(dim=0) if wants_bias else None


def _product(inputs: Float[Tensor, "*N I"], weight: Tensor, bias: Tensor | None = None) -> Float[Tensor, "*N O"]:
    # The operator that torch.compile puts in a linear layer's place. A packed weight's shape is oneDNN's own.
    return torch.ops.mkldnn._linear_pointwise(inputs, weight, bias, "none", [], "")
