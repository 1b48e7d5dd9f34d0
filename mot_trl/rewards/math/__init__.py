"""Whether two mathematical answers are equal, exactly and in bounded time; `MathReward` is the TRL reward."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mot_trl.rewards.math.equivalence import MathReward, asks_for_percent, is_equivalent

__all__ = ["MathReward", "asks_for_percent", "is_equivalent"]


def __getattr__(name: str) -> Any:
    # Imported when first asked for: the sandbox imports math_verify_worker alone.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.equivalence"), name)
