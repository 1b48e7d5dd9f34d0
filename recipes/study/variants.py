"""The variants that the study compares: every preset, its matched control, its other surrogate, and pause tokens."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache
from types import MappingProxyType
from typing import Any, Literal

import torch

from mot_trl.generation.config import DecoderConfig, parse_settings
from mot_trl.strategies import Strategy, build_strategy
from mot_trl.strategies.presets import PRESETS
from mot_trl.strategies.surrogate import surrogate

Kind = Literal["untrained", "tuning", "control", "pause", "mixture", "score"]

BASELINE = "vanilla"
UNTRAINED = "untrained"
PAUSED = "pause_tokens"

PAUSES = 8
"""Tokens that `pause_tokens` is fed between the tags of its thinking: with them, 10 steps, where the final models of
plain GRPO think for 9.5 on average, tags included."""

EXTRA_SETTINGS: dict[str, DecoderConfig] = {
    "dirichlet_floor": DecoderConfig(
        strategy="dirichlet",
        strategy_kwargs={"k": 3, "min_prob": 0.15, "visible": "heaviest"},
        mixture_score="visible",
    ),
    PAUSED: DecoderConfig(strategy="one_token", start_text="<think>" + PAUSES * "." + "</think>"),
}
"""Compared besides the presets: the best sampler of earlier trials (docs/strategies.md), on the support of
`vanilla_truncated`; and pause tokens. Their start text is fed with the prompt, see `recipes.study.run.begun`, so that
what is drawn and learned is the answer alone."""

ORDER = (
    BASELINE,
    PAUSED,
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
"""Most informative first, so that an unfinished study has them; the other presets follow in the order of `PRESETS`."""

FULL_SUPPORT = ("without_replacement", "multiplex", "mixture_of_inputs", "gated")
"""Strategies that draw from the whole vocabulary; their matched control is plain GRPO itself."""

LEARNING_RATES = (1e-4, 2e-4, 4e-4, 8e-4)
"""Candidates for the learning rate of plain GRPO, which all variants share."""


@dataclass(frozen=True)
class Variant:
    """One way of training.

    Attributes:
        name: Name in the tables.
        kind: `mixture`; `control`, ordinary tokens, from the whole vocabulary or a truncated support; `pause`, a fixed
            token in place of each thought; `score`, a mixture with its other surrogate; `tuning`, plain GRPO at
            another learning rate; or `untrained`.
        settings: Sampler and surrogate, in training and at inference.
        control: Name of the matched control, which draws ordinary tokens from the same support.
        learning_rate: Replaces the study's; None for all but `tuning`.
    """

    name: str
    kind: Kind
    settings: DecoderConfig
    control: str
    learning_rate: float | None = None

    @property
    def samplers(self) -> list[str]:
        """Names of the samplers to evaluate it under: its own, ordinary sampling, and its control's."""
        return list(dict.fromkeys([sampler_of(self.settings), BASELINE, self.control]))


@cache
def study_variants() -> tuple[Variant, ...]:
    """All variants, most informative first: mixtures, each after its matched control; then the other surrogates."""
    settings = {name: named_settings(name) for name in dict.fromkeys([*ORDER, *PRESETS])}
    variants = {variant.name: variant for name in settings for variant in _with_control(name, settings)}
    for name, own in settings.items():
        for other in other_scores(own):
            scored = replace(own, mixture_score=other)
            variants[f"{name}, {other}"] = Variant(f"{name}, {other}", "score", scored, variants[name].control)
    return tuple(variants.values())


def tuning_variants() -> list[Variant]:
    """Plain GRPO at each of `LEARNING_RATES`."""
    settings = named_settings(BASELINE)
    return [Variant(f"{BASELINE} at {rate:g}", "tuning", settings, BASELINE, rate) for rate in LEARNING_RATES]


def untrained_variant() -> Variant:
    """The model before training."""
    return Variant(UNTRAINED, "untrained", named_settings(BASELINE), BASELINE)


@cache
def samplers() -> MappingProxyType[str, DecoderConfig]:
    """The distinct samplers of the variants, each named after the first variant that uses it."""
    found: dict[str, DecoderConfig] = {}
    for variant in study_variants():
        if as_sampler(variant.settings) not in found.values():
            found[variant.name] = as_sampler(variant.settings)
    return MappingProxyType(found)


def sampler_of(settings: DecoderConfig) -> str:
    """The name in `samplers` of the sampler that these settings use."""
    return next(name for name, sampler in samplers().items() if sampler == as_sampler(settings))


def as_sampler(settings: DecoderConfig) -> DecoderConfig:
    """Settings with a fixed surrogate, on which no draw depends."""
    return replace(settings, mixture_score="density")


def named_settings(name: str) -> DecoderConfig:
    """The settings of a preset or of `EXTRA_SETTINGS`."""
    if name in EXTRA_SETTINGS:
        return EXTRA_SETTINGS[name]
    return DecoderConfig.from_dict(parse_settings(f"preset:{name}"))


def control_settings(settings: DecoderConfig) -> DecoderConfig:
    """The matched control: ordinary tokens from the support of these settings' mixtures."""
    return DecoderConfig(strategy="one_token", strategy_kwargs=support(settings))


def support(settings: DecoderConfig) -> dict[str, Any]:
    """The options that truncate the tokens a sampler may draw; empty where it may draw all."""
    if settings.strategy in FULL_SUPPORT:
        return {}
    # Their `k` counts draws in the strategies above, and truncates in the others.
    no_limit = {"k": None, "min_prob": 0.0, "nucleus": 1.0, "adaptive": False}
    options = asdict(build_strategy(settings.strategy, **settings.strategy_kwargs))  # ty: ignore[invalid-argument-type]
    return {name: options[name] for name, none in no_limit.items() if options.get(name, none) != none}


def other_scores(settings: DecoderConfig) -> list[Any]:
    """Which of the surrogates `density` and `visible` a mixture does not use, where the two differ."""
    strategy = build_strategy(settings.strategy, **settings.strategy_kwargs)
    if settings.strategy == "one_token" or not scores_differ(strategy):
        return []
    return [each for each in ("density", "visible") if each != settings.mixture_score]


def scores_differ(strategy: Strategy) -> bool:
    """Whether the density of a draw differs from the probability of its visible token."""
    # Tried out on random distributions: a strategy does not say what its `log_prob` is the density of.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        logps = torch.randn(64, 32).log_softmax(dim=-1)
        mixture = strategy.draw(logps)
    candidate_logps = logps.gather(-1, mixture.candidate_ids)
    visible = surrogate(strategy, candidate_logps, mixture, log_prob_type="visible")
    return not torch.allclose(strategy.log_prob(candidate_logps, mixture), visible)


def _with_control(name: str, settings: dict[str, DecoderConfig]) -> Iterator[Variant]:
    """A variant, preceded by its matched control, which it shares with all variants of the same support."""
    own = settings[name]
    matched = control_settings(own)
    # A preset may itself be the control: `vanilla` and `vanilla_truncated` are.
    same = [each for each, other in settings.items() if as_sampler(other) == matched]
    limits = " ".join(f"{key}={value}" for key, value in support(own).items())
    control = same[0] if same else f"plain {limits}"
    yield Variant(control, "control", matched, control)
    if name != control:
        yield Variant(name, "pause" if name == PAUSED else "mixture", own, control)
