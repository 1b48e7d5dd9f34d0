"""Mixtures enter at the embedding module, and nowhere else."""

from functools import partial

import pytest
import torch
from conftest import make_model
from peft import LoraConfig, get_peft_model
from transformers import PreTrainedModel

from mot_trl.modeling.embedding import override_embeddings
from mot_trl.strategies.mixture import MixtureInputs, blend, is_mixed

IDS = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]])
CANDIDATES = torch.tensor([[[7, 20], [8, 30]], [[11, 40], [12, 50]]])
LOG_WEIGHTS = torch.tensor([0.75, 0.25]).log().expand(2, 2, 2)
MASK = torch.tensor([[True, False], [True, True]])


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_the_blend_is_of_the_modules_own_outputs(family: str) -> None:
    model = make_model(family)
    module = model.get_input_embeddings()

    with override_embeddings(model) as override:
        override.inputs = MixtureInputs(CANDIDATES, LOG_WEIGHTS, MASK)
        mixed = module(IDS)

    plain = module(IDS)
    blends = 0.75 * module(CANDIDATES[..., 0]) + 0.25 * module(CANDIDATES[..., 1])
    assert torch.equal(mixed[:, :2], plain[:, :2])
    assert torch.allclose(mixed[:, 2:], torch.where(MASK.unsqueeze(-1), blends, plain[:, 2:]))
    assert override.calls == 1


def test_other_calls_and_later_ones_are_left_alone(model: PreTrainedModel) -> None:
    module = model.get_input_embeddings()

    with override_embeddings(model) as override:
        override.inputs = MixtureInputs(CANDIDATES, LOG_WEIGHTS, MASK)
        one = module(torch.tensor([[5]]))
        short = module(IDS[:, :1])
    after = module(IDS)

    assert torch.equal(one, module.weight[5].view(1, 1, -1))
    assert torch.equal(short, module.weight[IDS[:, :1]])
    assert torch.equal(after, module.weight[IDS])
    assert "forward" not in vars(module)


def test_a_patched_forward_of_the_module_is_restored(model: PreTrainedModel) -> None:
    module = model.get_input_embeddings()
    module.forward = own = partial(type(module).forward, module)

    with override_embeddings(model):
        assert module.forward is not own

    assert vars(module)["forward"] is own


def test_gradient_reaches_every_candidate_by_its_weight(model: PreTrainedModel) -> None:
    with override_embeddings(model) as override:
        override.inputs = MixtureInputs(CANDIDATES, LOG_WEIGHTS, MASK)
        model.get_input_embeddings()(IDS).sum().backward()

    gradient = model.get_input_embeddings().weight.grad.mean(dim=-1)
    assert torch.allclose(gradient[[7, 20, 11, 40, 12, 50]], torch.tensor([0.75, 0.25, 0.75, 0.25, 0.75, 0.25]))
    assert gradient[30] == 0
    assert gradient[8] == 1


def test_an_adapter_on_the_embeddings_is_part_of_the_blend(model: PreTrainedModel) -> None:
    adapted = get_peft_model(model, LoraConfig(target_modules=["embed_tokens"], init_lora_weights=False))
    module = adapted.get_input_embeddings()

    with override_embeddings(adapted.get_base_model()) as override:
        override.inputs = MixtureInputs(CANDIDATES, LOG_WEIGHTS, MASK)
        mixed = module(IDS)

    blends = 0.75 * module(CANDIDATES[..., 0]) + 0.25 * module(CANDIDATES[..., 1])
    assert torch.allclose(mixed[1, 2:], blends[1], atol=1e-6)
    assert not torch.allclose(module(IDS), module.base_layer(IDS))


def test_an_unused_candidate_adds_nothing() -> None:
    embeddings = torch.randn(1, 2, 4)

    blended = blend(embeddings, torch.tensor([[0.0, -torch.inf]]))

    assert torch.equal(blended, embeddings[:, 0])


def test_a_lone_candidate_is_no_mixture() -> None:
    assert is_mixed(torch.tensor([[-0.7, -0.7], [0.0, -torch.inf], [0.0, -200.0]])).tolist() == [True, False, False]


def test_half_precision_is_summed_in_float32_under_autocast() -> None:
    embeddings = torch.randn(3, 4, 16, dtype=torch.bfloat16)
    log_weights = torch.randn(3, 4).log_softmax(-1)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        blended = blend(embeddings, log_weights)

    exact = (log_weights.exp().unsqueeze(-1) * embeddings.float()).sum(1)
    assert torch.equal(blended, exact.bfloat16())
