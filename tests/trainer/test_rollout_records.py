"""Each rollout trains on its own record, or the run ends: no record is taken for another batch's."""

from pathlib import Path
from types import MethodType
from typing import Any

import pytest
import torch
from conftest import make_model, make_tokenizer
from datasets import Dataset
from test_grpo_trainer import make_trainer
from transformers import GenerationConfig, LogitsProcessorList, MaxLengthCriteria, StoppingCriteriaList

from mot_trl import generate


def after(calls: int, change: Any) -> Any:
    """A model whose `generate` is transformers' for some calls, and `change(own, kwargs)` from then on."""
    model = make_model()
    own, left = model.generate, [calls]

    def changed(self: Any, **kwargs: Any) -> Any:
        left[0] -= 1
        return own(**kwargs) if left[0] >= 0 else change(own, kwargs)

    model.generate = MethodType(changed, model)
    return model


def drops(own: Any, kwargs: dict[str, Any]) -> torch.Tensor:
    return own(**{name: value for name, value in kwargs.items() if name != "custom_generate"})


def reverses(own: Any, kwargs: dict[str, Any]) -> torch.Tensor:
    return own(**kwargs).flip(0)


def goes_row_by_row(own: Any, kwargs: dict[str, Any]) -> torch.Tensor:
    inputs = {name: kwargs.pop(name) for name in ("input_ids", "attention_mask")}
    rows = [own(**{name: value[row : row + 1] for name, value in inputs.items()}, **kwargs) for row in range(4)]
    longest = max(row.size(1) for row in rows)
    return torch.cat([torch.nn.functional.pad(row, (0, longest - row.size(1))) for row in rows])


CHANGES = {drops: "did not use the decoder", reverses: "returned other", goes_row_by_row: "returned other"}


@pytest.mark.parametrize("change", [drops, reverses, pytest.param(goes_row_by_row, marks=pytest.mark.slow)])
def test_training_ends_where_a_model_parts_completions_from_their_record(
    change: Any, tmp_path: Path, prompts: Dataset
) -> None:
    trainer = make_trainer(tmp_path, prompts, model=after(1, change), trace_steps=0)

    trainer._generate_and_score_completions([prompts[0]] * 4)

    with pytest.raises(RuntimeError, match=CHANGES[change]):
        trainer._generate_and_score_completions([prompts[1]] * 4)


def test_another_call_of_the_decoder_is_not_taken_for_the_rollouts(tmp_path: Path, prompts: Dataset) -> None:
    trainer = make_trainer(tmp_path, prompts, model=after(0, drops), trace_steps=0)
    ids = torch.tensor([[5, 6]] * 4)
    trainer.decoder(make_model(), *sampling(ids))

    with pytest.raises(RuntimeError, match="did not use the decoder"):
        trainer._generate_and_score_completions([prompts[1]] * 4)


def sampling(ids: torch.Tensor) -> tuple[Any, ...]:
    criteria = StoppingCriteriaList([MaxLengthCriteria(ids.size(1) + 2)])
    return ids, LogitsProcessorList(), criteria, GenerationConfig(do_sample=True, pad_token_id=0)


def test_generating_ends_there_too_in_a_later_batch() -> None:
    with pytest.raises(RuntimeError, match="did not use the decoder"):
        generate(after(1, drops), make_tokenizer(), ["Hi", "Hello"], batch_size=1, max_new_tokens=3)
