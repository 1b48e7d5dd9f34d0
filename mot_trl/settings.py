"""What a decoder is made of, as plain data: for checkpoints that carry it, evaluations that name it, command lines."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from transformers import PreTrainedTokenizerBase

from mot_trl.generation import MixtureDecoder
from mot_trl.phases import build_phases
from mot_trl.presets import PRESETS
from mot_trl.strategies import STRATEGIES, Strategy, build_strategy
from mot_trl.strategies.score import MixtureScore


@dataclass(frozen=True)
class DecoderSettings:
    """A strategy by name, and when thinking begins and ends; the fields mean what they do in `MoTGRPOConfig`.

    Raises:
        ValueError: The strategy is unknown, or an option is not one of its own or out of its range.
    """

    strategy: str = "top_k"
    strategy_kwargs: dict[str, Any] = field(default_factory=dict)
    mixture_score: MixtureScore = "density"
    stop_text: str = "</think>"
    start_text: str | None = None
    max_mixture_tokens: int | None = None
    cold_stop_threshold: float | None = None
    cold_stop_patience: int = 256

    def __post_init__(self) -> None:
        """Refuse what no decoder can be made of."""
        build_strategy(self.strategy, **self.strategy_kwargs)

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> "DecoderSettings":
        """The settings that `to_dict` gave.

        Raises:
            ValueError: A name is not one of the fields, or a value is one that no decoder can be made of.
        """
        known = [each.name for each in fields(cls)]
        if unknown := sorted(set(settings) - set(known)):
            raise ValueError(f"A decoder has no setting {', '.join(unknown)}; it takes {known}.")
        return cls(**settings)

    def to_dict(self) -> dict[str, Any]:
        """All fields, for JSON."""
        return asdict(self)

    def override(self, settings: Mapping[str, Any]) -> "DecoderSettings":
        """These settings with others in their place; another strategy does not inherit this one's options."""
        kept = self.to_dict()
        if settings.get("strategy", self.strategy) != self.strategy:
            kept["strategy_kwargs"] = {}
        return DecoderSettings.from_dict({**kept, **settings})

    def build(self, tokenizer: PreTrainedTokenizerBase) -> MixtureDecoder:
        """The decoder, for a model with this tokenizer."""
        phases = build_phases(
            tokenizer,
            stop_text=self.stop_text,
            start_text=self.start_text,
            max_mixture_tokens=self.max_mixture_tokens,
            cold_stop_threshold=self.cold_stop_threshold,
            cold_stop_patience=self.cold_stop_patience,
        )
        return MixtureDecoder(build_strategy(self.strategy, **self.strategy_kwargs), phases, self.mixture_score)


def name_of(strategy: Strategy) -> tuple[str, dict[str, Any]]:
    """The name of a strategy in `STRATEGIES`, and its options.

    Raises:
        ValueError: It is none of them, so that no name stands for it.
    """
    for name, kind in STRATEGIES.items():
        if type(strategy) is kind:
            return name, {each.name: getattr(strategy, each.name) for each in fields(strategy)}  # ty: ignore
    raise ValueError(f"{strategy!r} is none of the library's strategies; choose one of {sorted(STRATEGIES)}.")


def parse_settings(text: str) -> dict[str, Any]:
    """What one word of a command line sets: `dirichlet`, `top_k:k=5,min_share=0.1`, `preset:soft_thinking`.

    A name is a strategy's or, if there is none of that name or `preset:` stands before it, a preset's. What follows
    the colon are options of the strategy, each value as JSON or as text.

    Raises:
        ValueError: The name is unknown, or an option is malformed, unknown or out of range.
    """
    name, _, rest = text.removeprefix("preset:").partition(":")
    options = dict(_parse_option(option, text) for option in re.split("[,;]", rest) if option)
    if name in STRATEGIES and not text.startswith("preset:"):
        settings = {"strategy": name, "strategy_kwargs": options}
    elif name in PRESETS:
        preset = dict(PRESETS[name].settings)
        size, preset_options = preset.pop("mixture_k"), preset.pop("strategy_kwargs")
        preset_options |= {} if size is None else {"k": size}
        settings = {**preset, "strategy_kwargs": preset_options | options}
    else:
        raise ValueError(
            f"Unknown strategy {name!r}; choose one of {sorted(STRATEGIES)}, or of the presets {sorted(PRESETS)}."
        )
    DecoderSettings.from_dict(settings)
    return settings


def _parse_option(option: str, text: str) -> tuple[str, Any]:
    name, equals, value = option.partition("=")
    if not equals:
        raise ValueError(f"Options are written name=value, which {option!r} in {text!r} is not.")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value
