"""Recognize models whose weights are sharded over processes, and find the device of a model that is spread."""

from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled


def is_sharded(model: nn.Module) -> bool:
    """Whether a call of the model gathers weights (FSDP, FSDP2, ZeRO-3), so that processes must call it in step.

    Asks the modules themselves: accelerate's FSDP2 does not leave the mark that transformers looks for.
    """
    if not dist.is_available():
        return False
    # PyTorch has no such module where it is built without distributed support.
    from torch.distributed.fsdp import FSDPModule, FullyShardedDataParallel

    kinds = (FSDPModule, FullyShardedDataParallel)
    return is_deepspeed_zero3_enabled() or any(isinstance(module, kinds) for module in model.modules())


def input_device(model: Any) -> torch.device:
    """Where a transformers model takes its tokens.

    Unlike `model.device`, it is right where accelerate has offloaded the weights, which are then on `meta`.
    """
    hook = getattr(model.get_input_embeddings(), "_hf_hook", None)
    place = getattr(hook, "execution_device", None)
    return model.device if place is None else torch.device(place)


def is_offloaded(model: nn.Module) -> bool:
    """Whether accelerate keeps weights in main memory or on disk, and loads them for each call."""
    return any(getattr(getattr(module, "_hf_hook", None), "offload", False) for module in model.modules())
