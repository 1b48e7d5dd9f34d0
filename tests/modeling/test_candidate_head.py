"""K candidates' log-probabilities are those of the full softmax, without the softmax."""

import copy
import pickle
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from conftest import make_model
from peft import LoraConfig, get_peft_model
from trl.kernels import ChunkedLogProbFunction
from trl.trainer.utils import add_fused_lm_head

from mot_trl.modeling import candidate_head as logps_module
from mot_trl.modeling.candidate_head import add_candidate_head
from mot_trl.modeling.rollout import Rollout
from mot_trl.strategies.top_k import TopK

TEMPERATURE = 0.7


def scored(family: str, **overrides: object) -> dict[str, torch.Tensor]:
    """Candidate log-probs and gradients, through the head and through full logits."""
    model = make_model(family, **overrides)
    torch.manual_seed(0)
    ids = torch.randint(3, 259, (3, 10))
    candidate_ids = torch.randint(259, (3, 6, 4))
    candidate_ids[..., 2] = ids[:, 4:]
    mask = torch.rand(3, 6) < 0.7
    rollout = Rollout.empty(3, 6, num_candidates=4, device="cpu")
    rollout.candidate_ids.copy_(candidate_ids)
    rollout.log_weights.copy_(torch.randn(3, 6, 4).log_softmax(-1))
    rollout.thinking_mask.copy_(mask)
    weights = torch.randn(int(mask.sum()), 4)

    full = model(ids).logits[:, 3:-1].float().div(TEMPERATURE).log_softmax(-1).gather(-1, candidate_ids)[mask]
    (full * weights).sum().backward()
    full_gradients = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    add_fused_lm_head(model, temperature=TEMPERATURE)
    add_candidate_head(model, TopK(), temperature=TEMPERATURE)
    labels = ids.clone()
    labels[:, :4] = -100
    ours = model(
        input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels, fused_lm_head=True, rollout=rollout
    ).candidate_logps
    (ours * weights).sum().backward()
    gaps = {name: (parameter.grad - full_gradients[name]).abs().max() for name, parameter in model.named_parameters()}
    sizes = {name: gradient.abs().max() for name, gradient in full_gradients.items()}
    return {"logps": (ours - full).abs().max(), **{name: gaps[name] / (1 + sizes[name]) for name in gaps}}


@pytest.mark.parametrize(
    ("family", "overrides"),
    [
        ("llama", {}),
        ("qwen2", {}),
        ("gemma2", {}),
        ("llama", {"model_type": "cohere", "logit_scale": 0.3}),
        ("llama", {"model_type": "granite", "logits_scaling": 4.0}),
        ("llama", {"model_type": "phi"}),
    ],
    ids=["untied", "tied", "soft-capped", "scaled", "divided", "biased"],
)
def test_candidate_logps_and_gradients_are_those_of_the_full_softmax(
    family: str, overrides: dict[str, object]
) -> None:
    gaps = scored(family, **overrides)

    assert all(gap < 1e-5 for gap in gaps.values()), gaps


def test_positions_are_gathered_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logps_module, "POSITIONS_PER_GATHER", 3)

    assert all(gap < 1e-5 for gap in scored("qwen2").values())


@pytest.mark.parametrize("in_float32", [True, False])
@pytest.mark.parametrize("autocast", [True, False])
def test_a_head_in_float32_is_so_on_states_in_bfloat16(in_float32: bool, autocast: bool) -> None:
    model = make_model() if autocast else make_model().bfloat16()
    if in_float32:
        model.lm_head.float()  # as TRL's trainer does
    torch.manual_seed(0)
    ids = torch.randint(3, 259, (3, 10))
    rollout = Rollout.empty(3, 6, num_candidates=4, device="cpu")
    rollout.candidate_ids.copy_(torch.randint(259, (3, 6, 4)))
    rollout.candidate_ids[..., 2] = ids[:, 4:]
    rollout.thinking_mask.fill_(True)
    add_fused_lm_head(model, temperature=TEMPERATURE, cast_lm_head_to_fp32=in_float32)
    add_candidate_head(model, TopK(), temperature=TEMPERATURE, cast_lm_head_to_fp32=in_float32)

    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        hidden = model.model(ids).last_hidden_state[:, 3:-1]
        ours = model(
            input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids, fused_lm_head=True, rollout=rollout
        ).candidate_logps

    exact = (hidden.float() @ model.lm_head.weight.float().T / TEMPERATURE).log_softmax(-1)
    gap = (ours.view(3, 6, 4) - exact.gather(-1, rollout.candidate_ids.long())).abs().max()
    assert (gap < 1e-4) == in_float32


def test_a_model_that_embeds_elsewhere_raises() -> None:
    model = make_model()
    add_fused_lm_head(model)
    add_candidate_head(model, TopK())
    embeddings = model.get_input_embeddings()(torch.ones(1, 4, dtype=torch.long))

    with pytest.raises(RuntimeError, match="use LoRA instead"):
        model(
            inputs_embeds=embeddings,
            labels=torch.ones(1, 4, dtype=torch.long),
            fused_lm_head=True,
            rollout=Rollout.empty(1, 2, num_candidates=2, device="cpu"),
        )


def test_the_forward_without_a_rollout_is_unchanged() -> None:
    ids = torch.arange(3, 9).unsqueeze(0)
    model, plain = make_model(), make_model()
    add_fused_lm_head(model)
    add_candidate_head(model, TopK())

    assert torch.equal(model(ids).logits, plain(ids).logits)


def copies(model: Any) -> dict[str, Any]:
    return {
        "deepcopy": copy.deepcopy(model),
        "copy of a copy": copy.deepcopy(copy.deepcopy(model)),
        "adapted": copy.deepcopy(get_peft_model(model, LoraConfig(target_modules=["q_proj"]))).get_base_model(),
    }


@pytest.mark.untyped("accelerate makes the output anew from a dict, which transformers' outputs take for a field")
@pytest.mark.parametrize("kind", ["deepcopy", "copy of a copy", "adapted", "autocast"])
def test_a_copy_computes_with_its_own_weights(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, rollout = make_model(), Rollout.empty(1, 4, num_candidates=2, device="cpu")
    rollout.thinking_mask.fill_(True)
    add_fused_lm_head(model)
    add_candidate_head(model, TopK())
    if kind == "autocast":
        monkeypatch.setattr(AcceleratorState, "_shared_state", {})  # other tests may have asked for another precision
        Accelerator(cpu=True, mixed_precision="bf16").prepare_model(model)
    other = copy.deepcopy(model) if kind == "autocast" else copies(model)[kind]
    other.lm_head.weight.data.zero_()
    ids = torch.arange(3, 9).unsqueeze(0)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids, "fused_lm_head": True}

    uniform = torch.tensor(1 / 259).log()
    assert not other(ids).logits.any()
    assert torch.allclose(other(**inputs).log_probs, uniform, atol=1e-3)
    outputs = other(**inputs, rollout=rollout)
    assert torch.allclose(outputs.log_probs, uniform, atol=1e-3)
    assert torch.allclose(outputs.candidate_logps, uniform, atol=1e-3)
    assert model(ids).logits.any()


def test_a_pickled_model_computes_with_its_own_weights() -> None:
    model = make_model()
    add_fused_lm_head(model)
    add_candidate_head(model, TopK())
    ids = torch.arange(3, 9).unsqueeze(0)

    other = pickle.loads(pickle.dumps(model))
    other.lm_head.weight.data.zero_()

    assert not other(ids).logits.any()
    assert model(ids).logits.any()


def test_gradients_of_the_head_are_summed_in_float32_as_trls_are() -> None:
    # A thousand small gradients after a large one: in bfloat16 each would be rounded away.
    hidden = torch.full((1001, 8), 2.0**-10, dtype=torch.bfloat16)
    hidden[0] = 1.0
    gradients = {}
    for name in ("ours", "trl"):
        weight = torch.zeros(16, 8, dtype=torch.bfloat16, requires_grad=True)
        bias = torch.zeros(16, dtype=torch.bfloat16, requires_grad=True)
        if name == "ours":
            ids = torch.zeros(1001, 1, dtype=torch.long)
            logps = logps_module.CandidateLogits.apply(hidden, weight, bias, ids)
        else:
            ids = torch.zeros(1001, dtype=torch.long)
            logps, *_ = ChunkedLogProbFunction.apply(hidden, weight, bias, ids, 1.0, 16, None, 1.0, ())
        logps.backward(torch.cat([torch.ones(1), torch.full((1000,), 2.0**-9)]).view_as(logps))
        gradients[name] = weight.grad[0, 0].item(), bias.grad[0].item()

    # Softmax is uniform, so TRL's has a factor of 15 / 16.
    exact = 1 + 1000 * 2.0**-19, 1 + 1000 * 2.0**-9
    for ours, trl, right in zip(gradients["ours"], gradients["trl"], exact, strict=True):
        assert ours == torch.tensor(right).bfloat16().item()
        assert trl == pytest.approx(right * 15 / 16, rel=2.0**-8)
