import dataclasses
import inspect
from pathlib import Path

import pytest
import torch

from mot_trl.strategies import STRATEGIES, build_strategy, options_of
from mot_trl.strategies.presets import PRESETS, Preset
from mot_trl.strategies.surrogate import surrogate

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "strategies.md"
PHASE_FIELDS = {"stop_text", "max_mixture_tokens", "cold_stop_threshold", "cold_stop_patience", "start_text"}
every_preset = pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS.keys())


def table(header: str, rows: list[list[str]]) -> str:
    """A Markdown table."""
    columns = header.split(" | ")
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def options_text(options: dict[str, object]) -> str:
    return ", ".join(f"`{name}={value!r}`" for name, value in options.items())


def strategy_table() -> str:
    rows = []
    for name, strategy_class in STRATEGIES.items():
        own = [field.name for field in dataclasses.fields(strategy_class)]  # ty: ignore[invalid-argument-type]
        defaults = {name: value for name, value in options_of(build_strategy(name)).items() if name in own}
        summary = " ".join(str(inspect.getdoc(strategy_class)).split("\n\n")[0].split())
        rows.append([f"`{name}`", summary, "yes" if build_strategy(name).exact else "no", options_text(defaults)])
    return table("strategy | what it draws | exact | options, defaults", rows)


def preset_table() -> str:
    rows = [
        [
            f"`{name}`",
            f"`{preset.strategy}` " + options_text(preset.strategy_kwargs | preset.phase),
            preset.mixture_score,
            "" if preset.published_temperature is None else str(preset.published_temperature),
            preset.source,
            preset.differs,
        ]
        for name, preset in PRESETS.items()
    ]
    return table("preset | strategy, options, phases | score | published temperature | source | where we differ", rows)


@pytest.mark.parametrize("render", [strategy_table, preset_table])
def test_the_documentation_shows_what_the_code_does(render):
    text = DOCUMENTATION.read_text(encoding="utf-8")

    assert render() in text, f"Put this table into {DOCUMENTATION.name}:\n{render()}"


@every_preset
def test_a_preset_builds_a_strategy_that_draws_and_scores(preset: Preset):
    strategy = build_strategy(preset.strategy, **preset.strategy_kwargs)
    logps = torch.randn(8, 50).log_softmax(dim=-1)

    mixture = strategy.draw(logps)

    candidate_logps = logps.gather(-1, mixture.candidate_ids)
    # A gate keeps a slot for its plain tokens.
    slots = (preset.strategy_kwargs["k"] or 1) + (preset.strategy == "gated")
    assert mixture.candidate_ids.shape[-1] == slots
    assert surrogate(strategy, candidate_logps, mixture, log_prob_type=preset.mixture_score).shape == (8,)


@every_preset
def test_a_preset_names_its_source_and_leaves_what_is_trl_s(preset: Preset):
    assert "arXiv" in preset.source or preset.source == "This library"
    assert preset.differs
    assert set(preset.phase) <= PHASE_FIELDS


def test_the_methods_of_the_field_are_there():
    assert PRESETS.keys() >= {
        "vanilla",
        "top_k",
        "nucleus",
        "dirichlet",
        "different_tokens",
        "elementwise_max",
        "soft_thinking",
        "stochastic_soft_thinking",
        "mixture_of_inputs",
        "multiplex",
        "soft_grpo",
        "cot2",
    }


def test_vanilla_is_one_untruncated_token():
    preset = PRESETS["vanilla"]

    assert build_strategy(preset.strategy, **preset.strategy_kwargs) == build_strategy("one_token")
