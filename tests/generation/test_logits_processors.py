"""Recorded log-probabilities count as the policy's own only where nothing but a temperature has shaped them."""

from typing import Any

import pytest
import torch
from conftest import make_model, make_tokenizer
from transformers import LogitsProcessorList, TemperatureLogitsWarper, WatermarkingConfig

from mot_trl import DecoderConfig

SHAPING: dict[str, Any] = {
    "suppress_tokens": [50],
    "begin_suppress_tokens": [50],
    "no_repeat_ngram_size": 1,
    "bad_words_ids": [[50], [60, 61]],
    "min_length": 4,
    "min_new_tokens": 2,
    "forced_bos_token_id": 77,
    "forced_eos_token_id": 2,
    "sequence_bias": [[[50], 5.0]],
    "exponential_decay_length_penalty": (1, 1.5),
    "remove_invalid_values": True,
    "repetition_penalty": 1.5,
    "encoder_repetition_penalty": 1.5,
    "encoder_no_repeat_ngram_size": 1,
    "top_k": 4,
    "top_p": 0.5,
    "min_p": 0.3,
    "top_h": 0.5,
    "typical_p": 0.5,
    "epsilon_cutoff": 0.02,
    "eta_cutoff": 0.02,
    "guidance_scale": 1.5,
    "watermarking_config": WatermarkingConfig(),
    "renormalize_logits": True,
}


def temperature(own: dict[str, Any], **options: Any) -> float | None:
    """What the decoder says it divided by, for a model whose generation config holds `own`."""
    model, decoder = make_model(), DecoderConfig().build(make_tokenizer())
    model.generation_config.update(**{"do_sample": True, "top_k": 0, **own})
    model.generate(torch.tensor([[5, 6]] * 2), custom_generate=decoder, max_new_tokens=2, **options)
    return decoder.temperature


@pytest.mark.parametrize("name", SHAPING)
def test_a_models_own_processors_are_seen(name: str) -> None:
    assert temperature({name: SHAPING[name], "temperature": 0.8}) is None


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({}, 1.0),
        ({"temperature": 0.8}, 0.8),
        ({"temperature": 0.8, "repetition_penalty": 1.0, "top_p": 1.0, "no_repeat_ngram_size": 0}, 0.8),
        # Greedy tokens are scored at temperature 1, whatever is set.
        ({"temperature": 0.8, "do_sample": False}, 1.0),
    ],
    ids=str,
)
def test_a_temperature_alone_is_told(own: dict[str, Any], expected: float) -> None:
    assert temperature(own) == expected


def test_a_class_derived_from_a_temperature_may_do_more() -> None:
    class Suppressing(TemperatureLogitsWarper):
        def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            return super().__call__(input_ids, scores).index_fill(1, torch.tensor([50]), -torch.inf)

    assert temperature({}, logits_processor=LogitsProcessorList([Suppressing(0.8)])) is None
    assert temperature({}, logits_processor=LogitsProcessorList([TemperatureLogitsWarper(0.8)])) == 0.8
