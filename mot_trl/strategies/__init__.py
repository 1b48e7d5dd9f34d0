"""The ways of drawing a mixture, by name."""

import inspect
from collections.abc import Callable
from typing import Any

from mot_trl.strategies.base import BlendingStrategy, Strategy
from mot_trl.strategies.one_token import OneToken
from mot_trl.strategies.top_k import TopK

STRATEGIES: dict[str, Callable[..., Strategy]] = {
    "one_token": OneToken,
    "top_k": TopK,
}


def build_strategy(name: str, **options: Any) -> Strategy:
    """Make the strategy called `name` with its options.

    Raises:
        ValueError: `name` is not one of `STRATEGIES`, or an option is not one of the strategy's or out of its range.
    """
    if name not in STRATEGIES:
        raise ValueError(f"Unknown strategy {name!r}; choose one of {sorted(STRATEGIES)}.")
    known = list(inspect.signature(STRATEGIES[name]).parameters)
    if unknown := sorted(set(options) - set(known)):
        raise ValueError(f"Strategy {name!r} has no option {', '.join(unknown)}; it takes {known or 'none'}.")
    return STRATEGIES[name](**options)


__all__ = ["STRATEGIES", "BlendingStrategy", "Strategy", "build_strategy"]
