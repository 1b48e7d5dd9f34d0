"""K candidates' log-probabilities are those of the full softmax, without the softmax."""

import pytest
import torch
from conftest import make_model
from trl.trainer.utils import add_fused_lm_head

from mot_trl.modeling import candidate_head as logps
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
    monkeypatch.setattr(logps, "POSITIONS_PER_GATHER", 3)

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
