"""Presets, explicit values and defaults, in that order of weight; and early errors."""

from pathlib import Path
from typing import Any

import pytest

from mot_trl import PRESETS, DecoderConfig, MoTGRPOConfig, MoTSFTConfig

CONTINUOUS = {"use_transformers_continuous_batching": True}


def make_config(folder: Path, **overrides: Any) -> MoTGRPOConfig:
    return MoTGRPOConfig(output_dir=str(folder), use_cpu=True, bf16=False, report_to=[], **overrides)


def test_the_defaults_are_a_mixture_of_two(tmp_path: Path) -> None:
    config = make_config(tmp_path)

    assert (config.strategy, config.mixture_k, config.mixture_score) == ("top_k", 2, "density")
    assert config.stop_text == "</think>"


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_makes_a_configuration(name: str, tmp_path: Path) -> None:
    config = make_config(tmp_path, experiment_name=name)

    assert config.strategy == PRESETS[name].strategy
    assert config.mixture_score == PRESETS[name].mixture_score


def test_explicit_values_outweigh_the_preset(tmp_path: Path) -> None:
    config = make_config(tmp_path, experiment_name="dirichlet", mixture_k=5, mixture_score="visible")

    assert (config.strategy, config.mixture_k, config.mixture_score) == ("dirichlet", 5, "visible")
    assert config.strategy_options["k"] == 5


@pytest.mark.parametrize("name", [name for name in PRESETS if name not in ("mixture_of_inputs", "nucleus")])
def test_a_number_of_candidates_among_the_options_outweighs_the_preset(name: str, tmp_path: Path) -> None:
    config = make_config(tmp_path, experiment_name=name, strategy_kwargs={"k": 4})

    assert config.mixture_k == config.strategy_options["k"] == 4
    assert config.strategy_options == {**PRESETS[name].strategy_kwargs, "k": 4}


def test_a_given_option_keeps_the_presets_others(tmp_path: Path) -> None:
    config = make_config(tmp_path, experiment_name="soft_grpo", strategy_kwargs={"temperature": 0.5})
    named = make_config(
        tmp_path, experiment_name="soft_grpo", strategy="gumbel_softmax", strategy_kwargs={"temperature": 0.5}
    )

    assert config.strategy_options == {**PRESETS["soft_grpo"].strategy_kwargs, "temperature": 0.5}
    assert config.decoder == named.decoder


def test_a_strategy_other_than_the_presets_starts_from_its_own_defaults(tmp_path: Path) -> None:
    config = make_config(tmp_path, experiment_name="soft_thinking", strategy="gumbel_softmax")

    assert config.strategy_options == {"k": 5}
    assert config.mixture_score == "density"
    assert config.cold_stop_threshold == PRESETS["soft_thinking"].phase["cold_stop_threshold"]


@pytest.mark.parametrize(("name", "k"), [("top_k", 2), ("multiplex", 3), ("gumbel_softmax", 5), ("one_token", None)])
def test_a_strategy_has_its_own_number_of_candidates(name: str, k: int | None, tmp_path: Path) -> None:
    assert make_config(tmp_path, strategy=name).mixture_k == k


def test_vanilla_draws_from_the_whole_vocabulary_unless_told(tmp_path: Path) -> None:
    assert make_config(tmp_path, experiment_name="vanilla").strategy_options == {}
    assert make_config(tmp_path, experiment_name="vanilla", mixture_k=3).strategy_options == {"k": 3}


def test_a_strategy_may_come_with_its_options_in_one_word(tmp_path: Path) -> None:
    gated = {"wrapped": "dirichlet", "rate": 0.2, "k": 3}

    one = make_config(tmp_path, strategy="gated:wrapped=dirichlet,rate=0.2,k=3")
    apart = make_config(tmp_path, strategy="gated", strategy_kwargs={"wrapped": "dirichlet", "rate": 0.2}, mixture_k=3)
    sft = MoTSFTConfig(str(tmp_path), use_cpu=True, bf16=False, strategy="gated:wrapped=dirichlet,rate=0.2,k=3")

    assert one.decoder == apart.decoder == DecoderConfig("gated", gated)
    assert (one.strategy, one.mixture_k) == ("gated", 3)
    assert sft.decoder == one.decoder
    assert make_config(tmp_path, strategy="preset:soft_thinking:k=4").cold_stop_threshold == 0.01
    with pytest.raises(ValueError, match="differ in k"):
        make_config(tmp_path, strategy="top_k:k=3", strategy_kwargs={"k": 4})


def test_loss_on_all_tokens_is_the_expected_score(tmp_path: Path) -> None:
    assert make_config(tmp_path, loss_on_all_tokens=True).mixture_score == "expected"
    with pytest.raises(ValueError, match="leave one of them out"):
        make_config(tmp_path, loss_on_all_tokens=True, mixture_score="visible")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"strategy": "nope"}, "Unknown strategy 'nope'; choose one of"),
        ({"experiment_name": "nope"}, "Unknown `experiment_name='nope'`; choose one of"),
        ({"strategy_kwargs": {"nope": 1}}, "has no option nope; it takes"),
        ({"strategy": "dirichlet", "strategy_kwargs": {"concentration": -1}}, "concentration"),
        ({"mixture_k": 0}, "`mixture_k=0` must be at least 1"),
        ({"mixture_k": 2, "strategy_kwargs": {"k": 3}}, "`mixture_k=2` and the option `k=3` differ"),
        ({"mixture_score": "nope"}, "Unknown `mixture_score='nope'`; choose one of"),
        ({"max_mixture_tokens": 0}, "`max_mixture_tokens=0` must be at least 1"),
        ({"max_mixture_tokens": 64, "max_completion_length": 64}, "leaves no room for an answer"),
        (
            {"max_mixture_tokens": 8, "generation_kwargs": {"max_new_tokens": 8}},
            "leaves no room for an answer within 8 tokens",
        ),
        ({"generation_kwargs": {"num_beams": 2}}, "`num_beams=2` would be ignored: .* so `num_beams` must be 1"),
        ({"generation_kwargs": {"output_scores": True}}, "`output_scores=True` would be ignored"),
        ({"generation_kwargs": {"num_return_sequences": 2}}, "TRL repeats each prompt `num_generations` times"),
        ({"generation_kwargs": {"max_length": 9}}, "TRL sets `max_new_tokens`, to `max_completion_length`"),
        ({"generation_kwargs": {"stop_strings": ["a"]}}, "TRL passes `generate` no tokenizer"),
        ({"generation_kwargs": {"tempreature": 1.0}}, r"`generation_kwargs` holds \['tempreature'\]"),
        ({"cache_implementation": "paged"}, "`cache_implementation='paged'` stands for continuous batching"),
        ({**CONTINUOUS, "transformers_continuous_batching_config": {"use_cuda_graph": True}}, "no `use_cuda_graph`"),
        ({**CONTINUOUS, "transformers_continuous_batching_config": {"seed": 1}}, "takes no `seed`"),
        ({**CONTINUOUS, "use_vllm": True}, "are two engines; leave one of them out"),
        ({**CONTINUOUS, "max_completion_length": None}, "needs a `max_completion_length`"),
        ({**CONTINUOUS, "repetition_penalty": 1.1}, "would drop `repetition_penalty`"),
        (
            {"use_vllm": True, "vllm_mode": "server", "vllm_engine_kwargs": {"seed": 1}},
            "give a server's to `mot-trl vllm-serve`",
        ),
        ({"use_vllm": True, "vllm_model_impl": "transformers"}, "`vllm_model_impl='vllm'` alone"),
        ({"use_vllm": True, "vllm_structured_outputs_regex": "a"}, "`vllm_structured_outputs_regex=None` alone"),
        ({"use_vllm": True, "generation_kwargs": {"seed": 1}}, "`generation_kwargs` holds .'seed'."),
        ({"vllm_engine_kwargs": {"seed": 1}}, "`vllm_engine_kwargs` is for vLLM's engine; set `use_vllm=True`"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_is_refused_at_once(overrides: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        make_config(tmp_path, **overrides)


def test_without_mixtures_everything_of_trls_is_allowed(tmp_path: Path) -> None:
    server = {"use_vllm": True, "vllm_mode": "server", "generation_kwargs": {"seed": 1}}

    assert make_config(tmp_path, **server, normal_generation=True).use_vllm
    assert make_config(tmp_path, generation_kwargs={"num_beams": 2}, normal_generation=True).generation_kwargs


def test_continuous_batching_goes_with_mixtures(tmp_path: Path) -> None:
    sizes = {"num_blocks": 64, "use_cuda_graph": False}

    config = make_config(tmp_path, **CONTINUOUS, transformers_continuous_batching_config=sizes)

    assert config.transformers_continuous_batching_config == sizes


def test_vllm_in_the_same_process_goes_with_mixtures(tmp_path: Path) -> None:
    assert make_config(tmp_path, use_vllm=True, vllm_engine_kwargs={"enforce_eager": True}).use_vllm


def test_a_configuration_survives_being_made_again(tmp_path: Path) -> None:
    import dataclasses

    config = make_config(tmp_path, experiment_name="multiplex")

    again = dataclasses.replace(config, steps_per_generation=None, learning_rate=1e-3)

    assert again.strategy_options == config.strategy_options
