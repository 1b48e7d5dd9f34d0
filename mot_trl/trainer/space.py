"""Room on the disk, asked for before it is needed."""

import shutil
from pathlib import Path
from typing import Any

from torch import Tensor, nn

GIB = 2**30


def weight_bytes(model: nn.Module) -> int:
    """Bytes of what is saved of a model: of an adapter's, the parameters that are trained."""
    is_adapter = hasattr(model, "peft_config")
    return sum(_bytes(each) for each in model.parameters() if each.requires_grad or not is_adapter)


def optimizer_bytes(model: nn.Module, optimizer: Any) -> int:
    """Bytes of the optimizer's state; before its first step those that Adam will have, two moments a parameter."""
    tensors = [] if optimizer is None else [value for state in optimizer.state.values() for value in state.values()]
    if tensors:
        return sum(_bytes(value) for value in tensors if isinstance(value, Tensor))
    return 2 * sum(_bytes(each) for each in model.parameters() if each.requires_grad)


def shortage(folder: str | Path, needed: int) -> str | None:
    """A sentence about the room that is missing for `needed` bytes in a folder that need not exist yet; None if none.

    Nothing is said of a folder that cannot be asked.
    """
    path = Path(folder).absolute()
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if free >= needed:
        return None
    return f"{folder} has {free / GIB:.2f} GiB free, and {needed / GIB:.2f} GiB are needed"


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
