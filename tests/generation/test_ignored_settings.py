"""Settings of `generate` that have no effect on mixtures are refused, wherever they are given; all others count."""

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import make_model, make_tokenizer
from transformers import GenerationConfig

from mot_trl import DecoderConfig, generate
from mot_trl.generation.custom_generate import write_custom_generate
from mot_trl.generation.ignored_settings import IGNORED, check_generation_config

# Settings that reach the decoder: as lengths and ends, a cache, logits processors, stopping criteria.
HONORED = """
    max_length max_new_tokens min_length min_new_tokens max_time stop_strings do_sample use_cache cache_implementation
    cache_config max_cache_len temperature top_k top_p min_p top_h typical_p epsilon_cutoff eta_cutoff
    repetition_penalty encoder_repetition_penalty no_repeat_ngram_size bad_words_ids renormalize_logits
    forced_bos_token_id forced_eos_token_id remove_invalid_values exponential_decay_length_penalty suppress_tokens
    begin_suppress_tokens sequence_bias guidance_scale watermarking_config num_return_sequences pad_token_id
    bos_token_id eos_token_id encoder_no_repeat_ngram_size prefill_chunk_size
"""
OF_THE_FILE = {"transformers_version", "disable_compile"}  # the decoder never compiles

REFUSED: dict[str, Any] = {
    "num_beams": 2,
    "num_beam_groups": 2,
    "diversity_penalty": 0.5,
    "length_penalty": 2.0,
    "early_stopping": True,
    "force_words_ids": [[50]],
    "prompt_lookup_num_tokens": 3,
    "assistant_early_exit": 1,
    "dola_layers": "low",
    "penalty_alpha": 0.5,
    "return_dict_in_generate": True,
    "output_scores": True,
    "token_healing": True,
    "cache_implementation": "paged",
}
OF_A_MODE = ("num_beams", "force_words_ids", "prompt_lookup_num_tokens", "assistant_early_exit", "dola_layers")


def test_every_setting_of_transformers_counts_or_is_refused() -> None:
    settings = {name for name in vars(GenerationConfig()) if not name.startswith("_")}

    unknown = settings - set(HONORED.split()) - OF_THE_FILE - set(IGNORED)
    assert not unknown, f"new settings: do they reach the decoder? {unknown}"


@pytest.mark.parametrize(("name", "value"), REFUSED.items())
def test_what_would_be_ignored_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"`{name}="):
        generate(make_model(), make_tokenizer(), ["Hi"], max_new_tokens=2, **{name: value})


@pytest.mark.parametrize("value", [None, False, 1])
def test_values_that_ask_for_nothing_pass(value: Any) -> None:
    config = {"num_beams": value or 1, "num_return_sequences": 1, "early_stopping": False, "output_scores": None}

    assert generate(make_model(), make_tokenizer(), ["Hi"], max_new_tokens=2, **config).texts


@pytest.mark.parametrize("name", [*OF_A_MODE, "return_dict_in_generate"])
def test_a_models_own_generation_config_is_looked_at(name: str) -> None:
    model = make_model()
    setattr(model.generation_config, name, REFUSED[name])
    decoder = DecoderConfig().build(make_tokenizer())

    with pytest.raises(ValueError, match=rf"`{name}=.*model's own generation config"):
        model.generate(torch.tensor([[5, 6]]), custom_generate=decoder, max_new_tokens=2, do_sample=True)


def test_contrastive_search_is_refused_where_transformers_would_search() -> None:
    contrastive = {"penalty_alpha": 0.6, "top_k": 4}

    check_generation_config(GenerationConfig(do_sample=True, **contrastive))  # transformers samples, too
    with pytest.raises(ValueError, match=r"`penalty_alpha=0\.6`"):
        check_generation_config(GenerationConfig(do_sample=False, **contrastive))


def test_a_checkpoints_generate_refuses_them_too(tmp_path: Path) -> None:
    write_custom_generate(tmp_path, DecoderConfig())
    options = {"custom_generate": str(tmp_path), "trust_remote_code": True, "tokenizer": make_tokenizer()}

    with pytest.raises(ValueError, match="`assistant_model="):
        make_model().generate(torch.tensor([[5, 6]]), assistant_model=make_model(), max_new_tokens=2, **options)
