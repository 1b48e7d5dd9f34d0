"""Recognize models whose weights are sharded over processes."""

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
