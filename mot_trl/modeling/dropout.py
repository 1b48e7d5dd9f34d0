"""Whether a model computes something else each time that it is called in training mode."""

from numbers import Real

from torch import nn


def has_dropout(model: nn.Module) -> bool:
    """Whether the model or an adapter in it has a dropout or noise above 0, so that no two of its passes agree."""
    return any(_rate(module) > 0 for module in model.modules())


def _rate(module: nn.Module) -> float:
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return module.p
    # Attention, the routers of mixtures of experts, and embeddings under transformers' NEFTune apply theirs as a
    # function, and keep the rate as a number.
    words = ("drop", "jitter", "noise")
    rates = (value for name, value in vars(module).items() if any(word in name for word in words))
    return max((float(rate) for rate in rates if isinstance(rate, Real)), default=0.0)
