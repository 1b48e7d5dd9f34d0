"""Records travel as text, and come back as they were."""

from dataclasses import replace

import pytest
import torch
from conftest import make_tokenizer
from transformers import PreTrainedModel

from mot_trl import Rollout, generate
from mot_trl.engines.vllm_records import from_texts, to_text
from mot_trl.generation.config import build_phases


def record_of(model: PreTrainedModel, length: int) -> Rollout:
    phases = build_phases(make_tokenizer(), max_mixture_tokens=3)
    return generate(model, make_tokenizer(), ["Why?"], phases=phases, max_new_tokens=length).rollout


def test_records_of_any_length_come_back_side_by_side(model: PreTrainedModel) -> None:
    short, long = record_of(model, 13), record_of(model, 16)
    probed = [
        replace(each, probe_ids=each.candidate_ids[..., 0].clone(), probe_logps=each.logps - 1)
        for each in (short, long)
    ]

    for first, second in ((short, long), probed):
        joined = from_texts([to_text(first), to_text(second)])

        assert joined.lengths.tolist() == [int(first.lengths), int(second.lengths)]
        for row, one in enumerate((first, second)):
            mine = joined.rows(row, row + 1).resize(one.logps.size(1))
            for name, tensor in one.tensors().items():
                assert torch.equal(mine.tensors()[name], tensor), name
                assert mine.tensors()[name].dtype == tensor.dtype


def test_a_thought_takes_few_bytes(model: PreTrainedModel) -> None:
    phases = build_phases(make_tokenizer(), max_mixture_tokens=50)
    generation = generate(
        model, make_tokenizer(), ["Why?"], phases=phases, strategy="dirichlet", max_new_tokens=60, eos_token_id=[]
    )

    thoughts = int(generation.rollout.thinking_mask.sum()) * generation.rollout.num_candidates
    assert len(to_text(generation.rollout)) < 14 * thoughts + 1000


@pytest.mark.parametrize("spoil", [lambda text: text[:-9], lambda text: "not base64", lambda text: "AAAA"])
def test_a_text_that_is_no_record_is_refused(model: PreTrainedModel, spoil: object) -> None:
    with pytest.raises(ValueError, match="A record of mixtures could not be read"):
        from_texts([spoil(to_text(record_of(model, 12)))])
