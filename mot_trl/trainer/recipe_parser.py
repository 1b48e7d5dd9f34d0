"""The command line of the recipes: TRL's flags, this library's and those of a recipe."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trl import ModelConfig, TrlParser

from mot_trl.generation.config import resolve
from mot_trl.strategies.presets import PRESETS
from mot_trl.trainer.config import DECODER_FLAGS, MoTGRPOConfig, as_flags, flag, given_settings


@dataclass
class NoArguments:
    """No flags of its own: a recipe that makes its rows."""


@dataclass
class DataArguments:
    """Where a recipe's rows come from."""

    data_path: str | None = flag("Local file or folder of the dataset; by default it comes from the hub.")


@dataclass
class ScriptArguments(DataArguments):
    """Where a recipe's rows come from, and an optional LLM judge."""

    judge: str | None = flag("Model that judges the answers which the rules do not know; none by default.")
    judge_base_url: str | None = flag("Address of an OpenAI-compatible server; by default OpenAI's.")


def parse(
    defaults: Mapping[str, Any],
    data: type = ScriptArguments,
    arguments: Sequence[str] | None = None,
    *,
    prog: str | None = None,
) -> tuple[MoTGRPOConfig, ModelConfig, Any]:
    """Read the command line, and `--config FILE` as TRL does, over a recipe's defaults.

    `--experiment_name`, `--mixture_k`, `--loss_on_all_tokens` and `--normal_generation` work on every recipe, and so
    do all of TRL's flags. Settings of the decoder override those of the file, and these the recipe's, by the rule of
    `mot_trl.generation.config.resolve`. A strategy that is named without a preset starts from its own defaults.

    A model that never closes its thinking earns nothing and learns nothing, so there is a budget, three quarters of
    `max_completion_length`, unless `max_mixture_tokens` is given: 0 stands for none.

    Args:
        data: A dataclass of further flags.
        arguments: The words of the command line; by default the process's.
        prog: Name of the command in messages.
    """
    dataclasses: Any = (MoTGRPOConfig, ModelConfig, data)
    parser: Any = _RecipeParser(dataclasses, prog=prog)
    if unknown := parser.set_defaults_with_config(**defaults):
        raise ValueError(f"No setting takes these defaults of the recipe: {' '.join(unknown)}.")
    return parser.parse_args_and_config(arguments)


class _RecipeParser(TrlParser):
    """TRL's parser, which keeps apart what recipe, file and flags say about the decoder.

    TRL's replaces values key by key, so that a strategy on the command line would get the options of another one.
    """

    def __init__(self, dataclasses: Any, **kwargs: Any) -> None:
        super().__init__(dataclasses, **kwargs)
        self._layers: list[dict[str, Any]] = []

    def set_defaults_with_config(self, **settings: Any) -> list[str]:
        """Keep the decoder's settings for later; TRL calls this with what a file says."""
        self._layers.append({name: settings.pop(name) for name in DECODER_FLAGS if name in settings})
        return super().set_defaults_with_config(**settings)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, and resolve the decoder's settings from all layers."""
        parsed, remaining = super().parse_known_args(args, namespace)
        given = [*self._layers, vars(parsed)]
        layers = [given_settings(layer) for layer in given]
        budgets = [layer.pop("max_mixture_tokens") for layer in layers if "max_mixture_tokens" in layer]
        decoder = resolve(*layers)
        preset = None
        for layer in layers:
            preset = layer.get("experiment_name", None if "strategy" in layer else preset)
        # Where the strategy has changed, nothing is left of the preset but a name that misleads.
        kept = preset is not None and PRESETS[preset].strategy == decoder.strategy
        flags = as_flags(decoder) | {"experiment_name": preset if kept else None}
        budget = [decoder.max_mixture_tokens or _default_budget(parsed.max_completion_length), *budgets][-1]
        flags["max_mixture_tokens"] = budget or None
        expected = decoder.mixture_score == "expected"
        flags["loss_on_all_tokens"] = expected and any(layer.get("loss_on_all_tokens") for layer in given)
        for name, value in flags.items():
            setattr(parsed, name, value)
        return parsed, remaining


def _default_budget(longest: int | None) -> int | None:
    # Shorter completions may have no room for both a thought and its closing tag.
    return longest * 3 // 4 if longest is not None and longest >= 64 else None
