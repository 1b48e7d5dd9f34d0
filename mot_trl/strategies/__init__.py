"""Strategies by name: the ways to draw a mixture and to score the draw."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from mot_trl.strategies.base import BlendingStrategy, Strategy, VisibleStrategy
from mot_trl.strategies.dirichlet import Dirichlet
from mot_trl.strategies.dirichlet_multinomial import DirichletMultinomial
from mot_trl.strategies.elementwise_max import ElementwiseMax
from mot_trl.strategies.gumbel_softmax import GumbelSoftmax
from mot_trl.strategies.min_p import MinP
from mot_trl.strategies.mixture_of_inputs import MixtureOfInputs
from mot_trl.strategies.multiplex import Multiplex
from mot_trl.strategies.nucleus import Nucleus
from mot_trl.strategies.one_token import OneToken
from mot_trl.strategies.top_k import TopK
from mot_trl.strategies.without_replacement import WithoutReplacement

STRATEGIES: dict[str, Callable[..., Strategy]] = {
    "one_token": OneToken,
    "top_k": TopK,
    "nucleus": Nucleus,
    "min_p": MinP,
    "dirichlet": Dirichlet,
    "polya_urn": DirichletMultinomial,
    "without_replacement": WithoutReplacement,
    "multiplex": Multiplex,
    "gumbel_softmax": GumbelSoftmax,
    "elementwise_max": ElementwiseMax,
    "mixture_of_inputs": MixtureOfInputs,
}

# Old spellings in saved checkpoints and command lines, and the current ones.
_RENAMED_OPTIONS = {"min_share": "min_prob"}
_RENAMED_VALUES = {"renormalised": "renormalized"}


def build_strategy(name: str, **options: Any) -> Strategy:
    """Make the strategy called `name` with its options; options of earlier versions are accepted.

    Raises:
        ValueError: `name` is not one of `STRATEGIES`, or an option is not one of the strategy's or out of its range.
    """
    if name not in STRATEGIES:
        raise ValueError(f"Unknown strategy {name!r}; choose one of {sorted(STRATEGIES)}.")
    options = current_options(options)
    # Checked here because the constructor's TypeError would name neither the strategy nor what it takes.
    known = list(inspect.signature(STRATEGIES[name]).parameters)
    if unknown := sorted(set(options) - set(known)):
        raise ValueError(f"Strategy {name!r} has no option {', '.join(unknown)}; it takes {known or 'none'}.")
    return STRATEGIES[name](**options)


def current_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options under their current spellings."""
    renamed = {_RENAMED_OPTIONS.get(key, key): value for key, value in options.items()}
    return {key: _RENAMED_VALUES.get(str(value), value) for key, value in renamed.items()}


__all__ = ["STRATEGIES", "BlendingStrategy", "Strategy", "VisibleStrategy", "build_strategy", "current_options"]
