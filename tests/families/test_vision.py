"""Images in the prompt, mixtures in the thinking."""

import pytest
import torch
from family_laws import (
    TOLERANCE,
    Batch,
    add_heads,
    decode,
    gap_to_full_logits,
    gap_to_generation,
)
from torch import Tensor
from transformers import PreTrainedModel
from vision_table import FAMILIES, build, for_replay, prompts


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(family: str) -> PreTrainedModel:
    return add_heads(build(family))


@pytest.fixture(scope="module")
def images(family: str) -> dict[str, Tensor]:
    return FAMILIES[family].inputs(prompts(family)[0])


@pytest.fixture(scope="module")
def batch(family: str, model: PreTrainedModel, images: dict[str, Tensor]) -> Batch:
    return decode(model, *prompts(family), **images)


@pytest.fixture(scope="module")
def replayed(batch: Batch, images: dict[str, Tensor]) -> dict[str, Tensor]:
    return for_replay(images, batch.completion_ids.size(1))


def test_a_row_writes_the_same_alone_and_in_a_ragged_batch(
    family: str, model: PreTrainedModel, images: dict[str, Tensor]
) -> None:
    ids, mask = prompts(family)
    start = int((mask[0] == 0).sum())

    together = decode(model, ids, mask, do_sample=False, **images).alone(0)
    own_ids = ids[:1, start:]
    alone = decode(model, own_ids, mask[:1, start:], do_sample=False, **FAMILIES[family].inputs(own_ids))

    assert start > 0
    assert alone.completion_ids.tolist() == together.completion_ids.tolist()


def test_replay_equals_generation(model: PreTrainedModel, batch: Batch, replayed: dict[str, Tensor]) -> None:
    assert batch.rollout.mixture_mask.sum() > 1
    assert gap_to_generation(model, batch, **replayed) < TOLERANCE


def test_another_image_is_another_text(model: PreTrainedModel, batch: Batch, replayed: dict[str, Tensor]) -> None:
    others = {**replayed, "pixel_values": replayed["pixel_values"].flip(0) + 1}

    assert gap_to_generation(model, batch, **others) > 0.01


def test_candidates_have_the_whole_vocabularys_log_probs_and_gradients(
    model: PreTrainedModel, batch: Batch, replayed: dict[str, Tensor]
) -> None:
    gap, gradient_gap = gap_to_full_logits(model, batch, **replayed)

    assert gap < TOLERANCE
    assert gradient_gap < TOLERANCE
    assert torch.isfinite(batch.rollout.logps).all()


def test_equal_texts_about_other_images_are_not_read_as_one(family: str, model: PreTrainedModel) -> None:
    ids, mask = (tensor[1:].repeat(2, 1) for tensor in prompts(family))
    images = FAMILIES[family].inputs(ids)

    batch = decode(model, ids, mask, **images)

    assert gap_to_generation(model, batch, **for_replay(images, batch.completion_ids.size(1))) < TOLERANCE
