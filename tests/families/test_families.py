"""Every decoder family: padding, replay and the candidate head are exact, and training moves the weights."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from conftest import make_tokenizer
from family_laws import (
    TOLERANCE,
    Batch,
    add_heads,
    decode,
    gap_to_alone,
    gap_to_full_logits,
    gap_to_generation,
    prompts,
    share_of_weights_moved,
    takes_fast_path,
    tokens_lost_to_padding,
)
from family_table import FAMILIES, NO_ROUTER_LOSS, PLAIN, QUICK, REFUSED, SIZES, build
from transformers import PreTrainedModel

from mot_trl.modeling import cascade_attention, shared_kv_cache
from mot_trl.modeling.embedding import override_embeddings
from mot_trl.strategies.mixture import MixtureInputs, blend

VOCABULARY = SIZES["vocab_size"]


def marked(family: str) -> object:
    return family if family in QUICK else pytest.param(family, marks=pytest.mark.slow)


@pytest.fixture(scope="module", autouse=True)
def _prompts_are_worth_sharing() -> Iterator[None]:
    """Attend to shared prompts in parts, small as they are; rows that are decoded alone do not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared_kv_cache, "MIN_SAVED", 1)
        patch.setattr(cascade_attention, "MIN_RECENT", 1)
        yield


@pytest.fixture(scope="module", params=[marked(family) for family in FAMILIES])
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(family: str) -> PreTrainedModel:
    return add_heads(build(family))


@pytest.fixture(scope="module")
def batch(model: PreTrainedModel) -> Batch:
    return decode(model, *prompts(VOCABULARY))


def test_a_row_writes_the_same_alone_and_in_a_ragged_batch(model: PreTrainedModel) -> None:
    assert tokens_lost_to_padding(model, VOCABULARY) == 0


def test_the_cache_takes_the_path_that_the_table_says(family: str, model: PreTrainedModel) -> None:
    assert takes_fast_path(model, VOCABULARY) == (family not in PLAIN)


def test_replay_equals_generation(model: PreTrainedModel, batch: Batch) -> None:
    assert batch.rollout.mixture_mask.sum() > batch.rollout.thinking_mask.sum() / 8
    assert gap_to_generation(model, batch) < TOLERANCE


def test_a_mixture_is_the_blend_of_what_the_embedding_module_gives_for_its_tokens(model: PreTrainedModel) -> None:
    module, candidate_ids = model.get_input_embeddings(), torch.arange(3, 15).view(2, 2, 3)
    log_weights = torch.tensor([0.5, 0.3, 0.2]).log().expand(2, 2, 3)
    with override_embeddings(model) as override, torch.no_grad():
        override.inputs = MixtureInputs(candidate_ids, log_weights, torch.ones(2, 2, dtype=torch.bool))
        mixed = module(candidate_ids[..., 0])
    with torch.no_grad():
        outputs = module(candidate_ids.flatten(0, 1))

    assert torch.allclose(mixed.flatten(0, 1), blend(outputs, log_weights.flatten(0, 1)), atol=1e-5)


def test_replay_is_the_same_alone_and_in_a_ragged_batch(model: PreTrainedModel, batch: Batch) -> None:
    assert gap_to_alone(model, batch) < TOLERANCE


def test_candidates_have_the_whole_vocabularys_log_probs_and_gradients(model: PreTrainedModel, batch: Batch) -> None:
    gap, gradient_gap = gap_to_full_logits(model, batch.alone(0))

    assert gap < TOLERANCE
    assert gradient_gap < TOLERANCE


def test_one_training_step_moves_the_weights(family: str, tmp_path: Path) -> None:
    # A model of its own, since the trainer patches it.
    moved, gap = share_of_weights_moved(
        build(family), make_tokenizer(), tmp_path, router_loss=family not in NO_ROUTER_LOSS
    )

    assert moved > 0.7
    assert gap < TOLERANCE


@pytest.mark.parametrize(
    "family", [name if name in ("bert", "t5") else pytest.param(name, marks=pytest.mark.slow) for name in REFUSED]
)
def test_unsupported_families_are_refused_in_one_sentence(family: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=REFUSED[family][1]):
        share_of_weights_moved(build(family), make_tokenizer(), tmp_path)


def test_a_router_loss_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"PhimoeForCausalLM; set `router_aux_loss_coef=0.0`"):
        share_of_weights_moved(build("phimoe"), make_tokenizer(), tmp_path)
