"""Strategies by name: the ways to draw a mixture and to score the draw."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from mot_trl.strategies.base import BlendingStrategy, Strategy, VisibleStrategy, check_strategy
from mot_trl.strategies.dirichlet import Dirichlet
from mot_trl.strategies.dirichlet_multinomial import DirichletMultinomial
from mot_trl.strategies.elementwise_max import ElementwiseMax
from mot_trl.strategies.gated import Gated
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
    "gated": Gated,
}

# Old spellings in saved checkpoints and command lines, and the current ones.
_RENAMED_OPTIONS = {"min_share": "min_prob"}
_RENAMED_VALUES = {"renormalised": "renormalized"}


def build_strategy(name: str, **options: Any) -> Strategy:
    """Make the strategy called `name` with its options; options of earlier versions are accepted.

    `gated` takes the name of the strategy that it wraps, and that one's options beside its own:
    `build_strategy("gated", wrapped="dirichlet", k=3, rate=0.2)`.

    Raises:
        ValueError: `name` is not one of `STRATEGIES`, or an option is not one of the strategy's or out of its range.
    """
    options = current_options(options)
    wrapped = options.get("wrapped", name_of(Gated().wrapped)) if name == "gated" else None
    for each in (name, wrapped):
        if each is not None and (not isinstance(each, str) or each not in STRATEGIES):
            raise ValueError(f"Unknown strategy {each!r}; choose one of {sorted(STRATEGIES)}.")
    # Checked here because the constructor's TypeError would name neither the strategy nor what it takes.
    own = list(inspect.signature(STRATEGIES[name]).parameters)
    known = own if wrapped is None else own + list(inspect.signature(STRATEGIES[wrapped]).parameters)
    if unknown := sorted(set(options) - set(known)):
        of = name if wrapped is None else f"{name} {wrapped}"
        raise ValueError(f"Strategy {of!r} has no option {', '.join(unknown)}; it takes {known or 'none'}.")
    if wrapped is not None:
        inner = {key: options.pop(key) for key in set(options) - set(own)}
        options["wrapped"] = build_strategy(wrapped, **inner)
    return STRATEGIES[name](**options)


def name_of(strategy: Strategy) -> str:
    """Look up the name of a strategy in `STRATEGIES`.

    Raises:
        ValueError: It is not one of the library's, so no name stands for it.
    """
    # Not `isinstance`: a subclass may draw differently, and its name would build the base class.
    name = next((name for name, kind in STRATEGIES.items() if type(strategy) is kind), None)
    if name is None:
        raise ValueError(f"{strategy!r} is none of the library's strategies; choose one of {sorted(STRATEGIES)}.")
    return name


def options_of(strategy: Strategy) -> dict[str, Any]:
    """All options of one of the library's strategies, as `build_strategy` takes them.

    Raises:
        ValueError: It is not one of the library's, or wraps one that is not.
    """
    name_of(strategy)
    options = {each.name: getattr(strategy, each.name) for each in fields(strategy)}  # ty: ignore[invalid-argument-type]
    if not isinstance(strategy, Gated):
        return options
    return options | {"wrapped": name_of(strategy.wrapped)} | options_of(strategy.wrapped)


def merge_options(options: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Options with those `given` in their place, one by one.

    Another wrapped strategy starts from its own defaults: of the options, those of the gate alone are kept.
    """
    options, given = current_options(options), current_options(given)
    if given.get("wrapped", options.get("wrapped")) != options.get("wrapped"):
        gate = inspect.signature(Gated).parameters
        options = {key: value for key, value in options.items() if key in gate}
    return options | given


def current_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options under their current spellings."""
    renamed = {_RENAMED_OPTIONS.get(key, key): value for key, value in options.items()}
    return {key: _RENAMED_VALUES.get(str(value), value) for key, value in renamed.items()}


__all__ = [
    "STRATEGIES",
    "BlendingStrategy",
    "Strategy",
    "VisibleStrategy",
    "build_strategy",
    "check_strategy",
    "current_options",
    "merge_options",
    "name_of",
    "options_of",
]
