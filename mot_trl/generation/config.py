"""Serializable decoder configuration: the strategy by name, and when thinking begins and ends."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, get_args

from transformers import PreTrainedTokenizerBase

from mot_trl.generation.decoder import MixtureDecoder
from mot_trl.generation.phases import BudgetRule, ColdStopRule, Phases, Rule
from mot_trl.generation.stop_text import text_rule
from mot_trl.strategies import STRATEGIES, build_strategy, merge_options, options_of
from mot_trl.strategies.presets import PRESETS
from mot_trl.strategies.surrogate import LogProbType

TRAINED = "trained"
"""On the command line, the name of the decoder that a checkpoint was trained with."""


@dataclass(frozen=True)
class DecoderConfig:
    """All settings of a `MixtureDecoder`, as plain data; no other place names their defaults.

    `MoTGRPOConfig` holds one, each checkpoint stores one, and a resumed run is compared with the stored one.

    Attributes:
        strategy_kwargs: Options of the strategy; those left out keep its defaults.
        mixture_score: Log-probability of a mixture in the loss: `density`, `expected` or `visible`.
        stop_text: Text that ends the thinking.
        start_text: Text after which thinking begins; None to begin at once.
        restart_text: Text after which it begins again once it has ended, any number of times; None to think once.
        max_mixture_tokens: Thinking budget of a turn in tokens, or with a restart text of each span of thinking, after
            which `stop_text` is forced; None for no budget.
        max_total_mixture_tokens: The same for all spans, and all turns of a conversation, together.
        cold_stop_threshold: Entropy in nats below which a thinking step counts as cold; None for no cold stop.
        cold_stop_patience: Cold steps in a row after which `stop_text` is forced.

    Raises:
        ValueError: The strategy or a setting is unknown, or an option is not the strategy's or out of its range.
    """

    strategy: str = "top_k"
    strategy_kwargs: dict[str, Any] = field(default_factory=dict)
    mixture_score: LogProbType = "density"
    stop_text: str = "</think>"
    start_text: str | None = None
    restart_text: str | None = None
    max_mixture_tokens: int | None = None
    max_total_mixture_tokens: int | None = None
    cold_stop_threshold: float | None = None
    cold_stop_patience: int = 256

    def __post_init__(self) -> None:
        """Check the strategy with its options, and the settings that have a range."""
        build_strategy(self.strategy, **self.strategy_kwargs)
        if self.mixture_score not in (scores := get_args(LogProbType)):
            raise ValueError(f"Unknown `mixture_score={self.mixture_score!r}`; choose one of {list(scores)}.")
        for name in ("max_mixture_tokens", "max_total_mixture_tokens"):
            if (tokens := getattr(self, name)) is not None and tokens < 1:
                raise ValueError(f"`{name}={tokens}` must be at least 1.")
        opens, closes = self.restart_text, self.stop_text
        if opens and (opens in closes or closes in opens):
            raise ValueError(
                f"`restart_text={opens!r}` and `stop_text={closes!r}` hold one another, so that one text would both "
                "end the thinking and begin it again; give two tags, such as '<think>' and '</think>'."
            )

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> "DecoderConfig":
        """Read the output of `to_dict`, or part of it; what is left out gets its default."""
        known = [each.name for each in fields(cls)]
        if unknown := sorted(set(settings) - set(known)):
            raise ValueError(f"A decoder has no setting {', '.join(unknown)}; it takes {known}.")
        threshold = settings.get("cold_stop_threshold")
        infinite: dict[str, Any] = {"cold_stop_threshold": math.inf} if threshold == "inf" else {}
        return cls(**{**settings, **infinite})

    def to_dict(self) -> dict[str, Any]:
        """All fields, for JSON: an infinite number is its name."""
        return {name: str(value) if value == math.inf else value for name, value in asdict(self).items()}

    def override(self, settings: Mapping[str, Any]) -> "DecoderConfig":
        """Replace what is given, field by field, and the strategy's options one by one.

        A different strategy starts from its own defaults: it inherits neither this one's options nor its score.
        """
        kept = self.to_dict()
        if settings.get("strategy", self.strategy) != self.strategy:
            del kept["strategy_kwargs"], kept["mixture_score"]
        options = merge_options(kept.get("strategy_kwargs", {}), settings.get("strategy_kwargs") or {})
        return DecoderConfig.from_dict(kept | dict(settings) | {"strategy_kwargs": options})

    def switch(self, word: str) -> "DecoderConfig":
        """Switch to the decoder that a word names (see `parse_settings`), with these phases where it names none."""
        of_strategy = ("strategy", "strategy_kwargs", "mixture_score")
        phases = {name: value for name, value in self.to_dict().items() if name not in of_strategy}
        return DecoderConfig.from_dict(phases | parse_settings(word))

    def complete(self) -> "DecoderConfig":
        """Fill in the strategy's default options, so that equal decoders have equal configs."""
        return replace(self, strategy_kwargs=options_of(build_strategy(self.strategy, **self.strategy_kwargs)))

    def build_phases(self, tokenizer: PreTrainedTokenizerBase) -> Phases:
        """Make the rules that begin and end the thinking, for a model with this tokenizer.

        Raises:
            ValueError: A text encodes to nothing, or the tokenizer cannot write it.
        """
        # Their order gives `closed_by` its meaning; the text comes first, so that a tag at the very end of the budget
        # is not forced a second time.
        rules: list[Rule] = [text_rule(tokenizer, self.stop_text)]
        if self.max_mixture_tokens is not None:
            rules.append(BudgetRule(self.max_mixture_tokens))
        if self.cold_stop_threshold is not None:
            rules.append(ColdStopRule(self.cold_stop_threshold, self.cold_stop_patience))
        if self.max_total_mixture_tokens is not None:
            rules.append(BudgetRule(self.max_total_mixture_tokens, in_all=True))
        return Phases(
            rules=tuple(rules),
            closing_ids=tuple(tokenizer.encode(self.stop_text, add_special_tokens=False)),
            start=None if self.start_text is None else text_rule(tokenizer, self.start_text, setting="start_text"),
            restart=None
            if self.restart_text is None
            else text_rule(tokenizer, self.restart_text, setting="restart_text"),
        )

    def build(self, tokenizer: PreTrainedTokenizerBase) -> MixtureDecoder:
        """Make the decoder, for a model with this tokenizer."""
        strategy = build_strategy(self.strategy, **self.strategy_kwargs)
        return MixtureDecoder(strategy, self.build_phases(tokenizer), self.mixture_score)


def build_phases(tokenizer: PreTrainedTokenizerBase, **settings: Any) -> Phases:
    """Make the phases that some fields of `DecoderConfig` describe, such as `max_mixture_tokens`."""
    return DecoderConfig.from_dict(settings).build_phases(tokenizer)


def resolve(*layers: Mapping[str, Any]) -> DecoderConfig:
    """Make one decoder of settings from several places, such as defaults, a file and flags; later ones win.

    Args:
        layers: Fields of `DecoderConfig` that are given explicitly, and perhaps a preset, `experiment_name`. A preset
            replaces strategy, options and score of the layers before it; the other fields of its layer override it.
            So does a strategy that its layer names without a preset: it starts from its own defaults.

    Raises:
        ValueError: As for `DecoderConfig`, or a preset is unknown.
    """
    decoder = DecoderConfig()
    for layer in layers:
        given = dict(layer)
        preset = given.pop("experiment_name", None)
        if preset is not None and preset not in PRESETS:
            raise ValueError(f"Unknown `experiment_name={preset!r}`; choose one of {sorted(PRESETS)}.")
        start = f"preset:{preset}" if preset is not None else given.get("strategy")
        decoder = (decoder if start is None else decoder.switch(start)).override(given)
    return decoder


def decoder_for(name: str, embedded: Mapping[str, Any] | None, *, path: str) -> DecoderConfig:
    """Choose the decoder for a checkpoint; a named strategy takes from it the phases alone.

    Args:
        name: As for `parse_settings`, or `trained` for the checkpoint's own decoder.
        embedded: The checkpoint's decoder settings, as plain data.

    Raises:
        ValueError: The name is unknown, or the checkpoint holds no decoder, or one that this version cannot build.
    """
    if embedded is None:
        if name == TRAINED:
            raise ValueError(f"{path!r} carries no decoder in its generation config; name a strategy instead.")
        return DecoderConfig.from_dict(parse_settings(name))
    try:
        own = DecoderConfig.from_dict(embedded)
    except ValueError as error:
        raise ValueError(f"{path!r} carries a decoder that this version of mot_trl cannot make: {error}") from error
    return own if name == TRAINED else own.switch(name)


def parse_settings(text: str) -> dict[str, Any]:
    """Read one word of a command line: `top_k:k=5`, `gated:wrapped=dirichlet,k=3,rate=0.2` or `preset:soft_thinking`.

    A name is a strategy's or, if none has it or `preset:` precedes it, a preset's. After the colon come options of
    the strategy, each value as JSON or as text. The result holds fields of `DecoderConfig`.

    Raises:
        ValueError: The name is unknown, or an option is malformed, unknown or out of range.
    """
    name, _, rest = text.removeprefix("preset:").partition(":")
    # `;` too, since lm-evaluation-harness splits its own arguments at commas.
    options = dict(_parse_option(option, text) for option in re.split("[,;]", rest) if option)
    if name in STRATEGIES and not text.startswith("preset:"):
        settings = {"strategy": name, "strategy_kwargs": options}
    elif name in PRESETS:
        settings = PRESETS[name].settings
        settings["strategy_kwargs"] = merge_options(settings["strategy_kwargs"], options)
    else:
        raise ValueError(
            f"Unknown strategy {name!r}; choose one of {sorted(STRATEGIES)}, or of the presets {sorted(PRESETS)}."
        )
    DecoderConfig.from_dict(settings)
    return settings


def spell_out(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings whose `strategy` may be a word with options (see `parse_settings`), field by field.

    Raises:
        ValueError: The word is malformed, or names an option that is among the others with another value.
    """
    word = settings.get("strategy")
    if word is None or ":" not in word:
        return dict(settings)
    own, given = parse_settings(word), settings.get("strategy_kwargs") or {}
    if twice := sorted(name for name in given if own["strategy_kwargs"].get(name, given[name]) != given[name]):
        raise ValueError(f"`strategy={word!r}` and the options differ in {', '.join(twice)}; leave one of them out.")
    return own | {**settings, "strategy": own["strategy"], "strategy_kwargs": own["strategy_kwargs"] | given}


def _parse_option(option: str, text: str) -> tuple[str, Any]:
    name, equals, value = option.partition("=")
    if not equals:
        raise ValueError(f"Options are written name=value, which {option!r} in {text!r} is not.")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value
