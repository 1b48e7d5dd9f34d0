"""What the study compares: every preset, its controls, and the other score where a law has both."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache
from types import MappingProxyType
from typing import Any, Literal

import torch

from mot_trl.generation.config import DecoderConfig, parse_settings
from mot_trl.strategies import Strategy, build_strategy
from mot_trl.strategies.presets import PRESETS
from mot_trl.strategies.surrogate import score

Kind = Literal["untrained", "tuning", "control", "mixture", "score"]

PLAIN = "vanilla"
UNTRAINED = "untrained"

BESIDE_PRESETS: dict[str, DecoderConfig] = {
    "dirichlet_floor": DecoderConfig(
        strategy="dirichlet",
        strategy_kwargs={"k": 3, "min_prob": 0.15, "visible": "heaviest"},
        mixture_score="visible",
    )
}
"""The law that learned best in earlier trials (docs/strategies.md), on the support of `vanilla_truncated`."""

FIRST = (
    PLAIN,
    "vanilla_truncated",
    "dirichlet_floor",
    "dirichlet_exact",
    "gumbel_exact",
    "dirichlet",
    "multiplex",
    "cot2",
    "top_k",
    "soft_grpo",
    "mixture_of_inputs",
)
"""What says most comes first, so that a study cut short has it; the other presets follow as `PRESETS` has them."""

DRAWN_FROM_ALL = ("without_replacement", "multiplex", "mixture_of_inputs")
"""Laws that draw from the whole vocabulary, whose control is plain GRPO itself."""

LEARNING_RATES = (1e-4, 2e-4, 4e-4, 8e-4)
"""What the learning rate of plain GRPO was chosen from; nobody else's was tuned."""


@dataclass(frozen=True)
class Arm:
    """One way of training.

    Attributes:
        name: As the tables call it.
        kind: `mixture`; `control`, plain tokens, of all or on a law's support; `score`, a mixture with another score;
            `tuning`, plain GRPO at a learning rate of its own; `untrained`.
        settings: How it draws and scores, in training and at inference.
        control: Name of the arm that draws plain tokens from the same support.
        learning_rate: In place of the study's, None for all but `tuning`.
    """

    name: str
    kind: Kind
    settings: DecoderConfig
    control: str
    learning_rate: float | None = None


@cache
def study_arms() -> tuple[Arm, ...]:
    """All arms of the comparison, the most telling first: mixtures, each after its control; then the other scores."""
    named = {name: named_settings(name) for name in dict.fromkeys([*FIRST, *PRESETS])}
    arms = {arm.name: arm for name in named for arm in _with_control(name, named)}
    for name, settings in named.items():
        for other in other_scores(settings):
            scored = replace(settings, mixture_score=other)
            arms[f"{name}, {other}"] = Arm(f"{name}, {other}", "score", scored, arms[name].control)
    return tuple(arms.values())


def tuning_arms() -> list[Arm]:
    """Plain GRPO at each of `LEARNING_RATES`."""
    plain = named_settings(PLAIN)
    return [Arm(f"{PLAIN} at {rate:g}", "tuning", plain, PLAIN, rate) for rate in LEARNING_RATES]


def untrained_arm() -> Arm:
    """The model as it is before any training."""
    return Arm(UNTRAINED, "untrained", named_settings(PLAIN), PLAIN)


@cache
def laws() -> MappingProxyType[str, DecoderConfig]:
    """The distinct ways of drawing among the arms, by the name of the first arm that draws so."""
    found: dict[str, DecoderConfig] = {}
    for arm in study_arms():
        if as_law(arm.settings) not in found.values():
            found[arm.name] = as_law(arm.settings)
    return MappingProxyType(found)


def law_of(settings: DecoderConfig) -> str:
    """The name in `laws` of the way that settings draw."""
    return next(name for name, law in laws().items() if law == as_law(settings))


def as_law(settings: DecoderConfig) -> DecoderConfig:
    """Settings without their score, which no draw depends on."""
    return replace(settings, mixture_score="density")


def named_settings(name: str) -> DecoderConfig:
    """The decoder of a preset, or of what stands beside the presets."""
    if name in BESIDE_PRESETS:
        return BESIDE_PRESETS[name]
    return DecoderConfig.from_dict(parse_settings(f"preset:{name}"))


def control_settings(settings: DecoderConfig) -> DecoderConfig:
    """Plain tokens, drawn from the support that these settings' mixtures have."""
    return DecoderConfig(strategy="one_token", strategy_kwargs=support(settings))


def support(settings: DecoderConfig) -> dict[str, Any]:
    """The options that say which tokens a law may draw, none where it is all of them."""
    if settings.strategy in DRAWN_FROM_ALL:
        return {}
    no_limit = {"k": None, "min_prob": 0.0, "nucleus": 1.0}
    options = asdict(build_strategy(settings.strategy, **settings.strategy_kwargs))  # ty: ignore[invalid-argument-type]
    return {name: options[name] for name, none in no_limit.items() if options.get(name, none) != none}


def other_scores(settings: DecoderConfig) -> list[Any]:
    """Which of `density` and `visible` a mixture does not use, where the two differ."""
    strategy = build_strategy(settings.strategy, **settings.strategy_kwargs)
    if settings.strategy == "one_token" or not scores_differ(strategy):
        return []
    return [each for each in ("density", "visible") if each != settings.mixture_score]


def scores_differ(strategy: Strategy) -> bool:
    """Whether a law's density says more of a draw than the visible token's probability."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        logps = torch.randn(64, 32).log_softmax(dim=-1)
        mixture = strategy.draw(logps)
    candidate_logps = logps.gather(-1, mixture.candidate_ids)
    density, visible = (score(strategy, candidate_logps, mixture, how=how) for how in ("density", "visible"))
    return not torch.allclose(density, visible)


def _with_control(name: str, named: dict[str, DecoderConfig]) -> Iterator[Arm]:
    """An arm, and before it the control that it shares with all of the same support."""
    settings = named[name]
    plain = control_settings(settings)
    same = [each for each, other in named.items() if as_law(other) == plain]
    limits = " ".join(f"{key}={value}" for key, value in support(settings).items())
    control = same[0] if same else f"plain {limits}"
    yield Arm(control, "control", plain, control)
    if name != control:
        yield Arm(name, "mixture", settings, control)
