"""Decoder configs: named on a command line, overridden, and read from checkpoints."""

from typing import Any

import pytest

from mot_trl.generation.config import TRAINED, DecoderConfig, decoder_for, parse_settings, resolve


@pytest.mark.parametrize(
    ("word", "settings"),
    [
        ("top_k", {"strategy": "top_k", "strategy_kwargs": {}}),
        ("top_k:k=5,min_prob=0.1", {"strategy": "top_k", "strategy_kwargs": {"k": 5, "min_prob": 0.1}}),
        (
            "gated:wrapped=dirichlet,k=3,rate=0.2",
            {"strategy": "gated", "strategy_kwargs": {"wrapped": "dirichlet", "k": 3, "rate": 0.2}},
        ),
        ("multiplex:weights=uniform", {"strategy": "multiplex", "strategy_kwargs": {"weights": "uniform"}}),
        (
            "soft_thinking:k=4",
            {
                "strategy": "top_k",
                "strategy_kwargs": {"k": 4},
                "mixture_score": "visible",
                "cold_stop_threshold": 0.01,
                "cold_stop_patience": 256,
            },
        ),
        (
            "preset:vanilla",
            {"strategy": "one_token", "strategy_kwargs": {}, "mixture_score": "density"},
        ),
    ],
)
def test_a_word_names_a_strategy_with_its_options(word: str, settings: dict) -> None:
    assert parse_settings(word) == settings


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("telepathy", "Unknown strategy 'telepathy'"),
        ("preset:min_p", "Unknown strategy 'min_p'"),
        ("top_k:5", "name=value"),
        ("top_k:color=5", "no option color"),
        ("top_k:k=0", "at least 1"),
        ("gated:wrapped=top_k,color=5", "'gated top_k' has no option color"),
    ],
)
def test_a_word_that_names_nothing_is_refused(word: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_settings(word)


def test_another_strategy_does_not_inherit_options_but_keeps_the_phases() -> None:
    trained = DecoderConfig(strategy="dirichlet", strategy_kwargs={"concentration": 4.0}, max_mixture_tokens=9)

    other = trained.override(parse_settings("multiplex"))

    assert (other.strategy_kwargs, other.max_mixture_tokens) == ({}, 9)
    assert DecoderConfig.from_dict(trained.to_dict()) == trained


def test_an_option_keeps_the_others_and_another_strategy_keeps_neither_options_nor_score() -> None:
    trained = DecoderConfig("gumbel_softmax", {"k": 4, "temperature": 0.1}, "visible", max_mixture_tokens=9)

    warmer = trained.override({"strategy_kwargs": {"temperature": 0.5}})
    same = trained.override({"strategy": "gumbel_softmax", "strategy_kwargs": {"k": 2}})
    other = trained.override({"strategy": "dirichlet", "strategy_kwargs": {"k": 2}})

    assert warmer == DecoderConfig("gumbel_softmax", {"k": 4, "temperature": 0.5}, "visible", max_mixture_tokens=9)
    assert same == DecoderConfig("gumbel_softmax", {"k": 2, "temperature": 0.1}, "visible", max_mixture_tokens=9)
    assert other == DecoderConfig("dirichlet", {"k": 2}, "density", max_mixture_tokens=9)


def test_another_wrapped_strategy_keeps_the_gates_options_alone() -> None:
    decoder = DecoderConfig("gated", {"wrapped": "dirichlet", "k": 3, "rate": 0.2, "min_entropy": 1.0})

    other = decoder.override({"strategy_kwargs": {"wrapped": "top_k"}})
    same = decoder.override({"strategy_kwargs": {"wrapped": "dirichlet", "concentration": 4.0}})

    assert other.strategy_kwargs == {"wrapped": "top_k", "rate": 0.2, "min_entropy": 1.0}
    assert same.strategy_kwargs == {**decoder.strategy_kwargs, "concentration": 4.0}
    preset = parse_settings("preset:n_grpo:wrapped=dirichlet")
    assert preset["strategy_kwargs"] == {"wrapped": "dirichlet", "rate": 0.1}
    assert other.complete().strategy_kwargs["k"] == 2


@pytest.mark.parametrize(("old", "new"), [("min_share", "min_prob"), ("min_prob", "min_share")])
def test_an_option_overrides_itself_under_its_old_spelling(old: str, new: str) -> None:
    config = DecoderConfig("top_k", {old: 0.1, "k": 3}).override({"strategy_kwargs": {new: 0.2}})

    assert config.complete().strategy_kwargs == {"k": 3, "min_prob": 0.2, "adaptive": False}


def test_a_named_strategy_takes_the_phases_alone_from_a_checkpoint() -> None:
    stored = DecoderConfig("top_k", {"k": 4, "min_prob": 0.1}, "visible", max_mixture_tokens=9).to_dict()

    config = decoder_for("top_k:k=5", stored, path="trained")

    assert config == DecoderConfig("top_k", {"k": 5}, "density", max_mixture_tokens=9)


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (
            [{"experiment_name": "dirichlet", "strategy_kwargs": {"k": 3}}],
            DecoderConfig("dirichlet", {"k": 3, "concentration": 1.0, "min_prob": 0.0}, "visible"),
        ),
        (
            [{"strategy": "min_p", "strategy_kwargs": {"k": 3}, "stop_text": "!"}, {"experiment_name": "top_k"}],
            DecoderConfig("top_k", {"k": 2}, "visible", "!"),
        ),
        ([{"experiment_name": "top_k"}, {"strategy": "multiplex"}], DecoderConfig("multiplex")),
        (
            [{"experiment_name": "top_k"}, {"strategy_kwargs": {"min_prob": 0.1}}, {"mixture_score": "expected"}],
            DecoderConfig("top_k", {"k": 2, "min_prob": 0.1}, "expected"),
        ),
        ([], DecoderConfig()),
    ],
    ids=["explicit k", "later preset", "later strategy", "three layers", "nothing"],
)
def test_later_layers_override_earlier_ones(layers: list[dict[str, Any]], expected: DecoderConfig) -> None:
    assert resolve(*layers) == expected


def test_checkpoints_of_the_previous_version_keep_their_options() -> None:
    stored = {"strategy": "top_k", "strategy_kwargs": {"k": 4, "min_share": 0.1}}

    config = decoder_for(TRAINED, stored, path="old")

    assert config.complete().strategy_kwargs == {"k": 4, "min_prob": 0.1, "adaptive": False}


@pytest.mark.untyped("a type of score that does not exist")
@pytest.mark.parametrize(
    ("settings", "message"),
    [({"mixture_score": "nope"}, "Unknown `mixture_score='nope'`"), ({"max_mixture_tokens": 0}, "must be at least 1")],
)
def test_a_setting_out_of_its_range_is_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DecoderConfig.from_dict(settings)
