"""The KL term is that of the model's own distributions, whatever was drawn from them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import make_model, make_tokenizer
from datasets import Dataset
from jaxtyping import Float
from test_grpo_trainer import make_trainer
from test_replay import replayed
from torch import Tensor

from mot_trl import MixtureDecoder, MoTGRPOTrainer, Rollout, build_phases
from mot_trl.modeling.embedding import blend_of, override_embeddings
from mot_trl.strategies import STRATEGIES, build_strategy
from mot_trl.trainer.kl import OLD_PROBE_LOGPS, inverse_k3

LENGTH, VOCABULARY, AT = 3, 259, 1
ARMS = {name: build_strategy(name) for name in STRATEGIES} | {
    "a lone candidate": build_strategy("top_k", k=1),
    "one token of many": build_strategy("one_token", k=3),
    "uncensored": build_strategy("dirichlet", k=5, min_prob=0.0),
}

QUICK = {"one_token", "top_k", "elementwise_max", "a lone candidate", "uncensored"}


@pytest.mark.parametrize("arm", [pytest.param(arm, marks=[] if arm in QUICK else pytest.mark.slow) for arm in ARMS])
def test_the_kl_term_is_exact_on_average(arm: str, tmp_path: Path, prompts: Dataset) -> None:
    trainer = drifted_trainer(tmp_path, prompts, own_strategy=ARMS[arm])
    batch = trainer._generate_and_score_completions([prompts[0]] * 4)
    logps = exact_logps(trainer, trainer.model, batch)
    reference_logps = exact_logps(trainer, trainer.ref_model, batch).detach()
    inputs = expectation(trainer, batch, logps.detach())
    weights = [trainer.model.lm_head.weight, trainer.model.model.layers[0].self_attn.q_proj.weight]

    for is_unbiased in (True, False):
        trainer.args.use_bias_correction_kl = is_unbiased
        loss = trainer._compute_loss(trainer.model, inputs)
        gradients = torch.autograd.grad(loss, weights, retain_graph=True)

        kl = (logps.exp() * (logps - reference_logps)).sum()
        assert kl > 0.1
        assert loss.item() == pytest.approx(kl.item(), rel=1e-4)
        # Without the correction, TRL's estimator descends the KL from the reference to the policy.
        other = (reference_logps.exp() * (reference_logps - logps)).sum()
        exact = torch.autograd.grad(kl if is_unbiased else other, weights, retain_graph=True)
        for gradient, expected in zip(gradients, exact, strict=True):
            assert torch.allclose(gradient, expected, atol=1e-3 * expected.abs().max().item())


@pytest.mark.parametrize("arm", ["one_token", "top_k", "uncensored"])
def test_it_stays_exact_after_the_policy_has_moved(arm: str, tmp_path: Path, prompts: Dataset) -> None:
    trainer = drifted_trainer(tmp_path, prompts, own_strategy=ARMS[arm])
    batch = trainer._generate_and_score_completions([prompts[0]] * 4)
    inputs = expectation(trainer, batch, exact_logps(trainer, trainer.model, batch).detach())
    old = replayed(trainer, trainer.model, inputs)
    inputs["old_per_token_logps"] = old.logps
    if old.probe_logps:
        inputs[OLD_PROBE_LOGPS] = old.probe_logps[0]
    move(trainer.model, seed=2, by=0.02)
    logps = exact_logps(trainer, trainer.model, batch)
    reference_logps = exact_logps(trainer, trainer.ref_model, batch).detach()
    weight = trainer.model.lm_head.weight

    loss = trainer._compute_loss(trainer.model, inputs)
    (gradient,) = torch.autograd.grad(loss, weight)

    kl = (logps.exp() * (logps - reference_logps)).sum()
    (expected,) = torch.autograd.grad(kl, weight)
    assert loss.item() == pytest.approx(kl.item(), rel=1e-4)
    assert torch.allclose(gradient, expected, atol=1e-3 * expected.abs().max().item())


def drifted_trainer(folder: Path, prompts: Dataset, **overrides: Any) -> MoTGRPOTrainer:
    """A trainer whose policy is far from its reference; `loss_type` makes the loss a mean weighted by the mask."""
    make_model().save_pretrained(folder / "model")
    settings = {
        "loss_type": "bnpo",
        "max_completion_length": LENGTH,
        "gradient_checkpointing": False,
        "trace_steps": 0,
    }
    trainer = make_trainer(folder, prompts, model=str(folder / "model"), beta=1.0, **settings, **overrides)
    trainer.current_gradient_accumulation_steps = 1
    move(trainer.model, seed=1, by=0.1)
    torch.manual_seed(0)
    return trainer


def move(model: Any, *, seed: int, by: float) -> None:
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(by * torch.randn_like(parameter))


def expectation(trainer: MoTGRPOTrainer, batch: dict[str, Any], logps: Float[Tensor, " V"]) -> dict[str, Any]:
    """A row of the batch with every token in turn where it was drawn from p, weighted by its probability."""
    inputs = {
        name: value[:1].expand(VOCABULARY, *value.shape[1:]).clone() if value.dim() else value
        for name, value in batch.items()
    }
    inputs["advantages"] = torch.zeros(VOCABULARY)
    inputs["tool_mask"] = torch.zeros(VOCABULARY, LENGTH)
    inputs["tool_mask"][:, AT] = logps.exp()
    drawn = inputs.get("rollout_probe_ids", inputs["completion_ids"])
    drawn[:, AT] = torch.arange(VOCABULARY)
    reference = replayed(trainer, trainer.ref_model, inputs)
    inputs["ref_per_token_logps"] = reference.probe_logps[0] if reference.probe_logps else reference.logps
    return inputs


def exact_logps(trainer: MoTGRPOTrainer, model: Any, batch: dict[str, Tensor]) -> Float[Tensor, " V"]:
    """Log-probabilities of all tokens after the first row's first mixture."""
    rollout = Rollout.from_batch(batch).rows(0, 1).resize(AT)
    input_ids = torch.cat([batch["prompt_ids"][:1], batch["completion_ids"][:1, :AT]], dim=1)
    mask = torch.cat([batch["prompt_mask"][:1], batch["completion_mask"][:1, :AT]], dim=1)
    assert rollout.thinking_mask.all()
    with override_embeddings(model, blend_of(trainer.strategy)) as override:
        override.inputs = rollout.inputs
        logits = model(input_ids=input_ids, attention_mask=mask).logits
    return (logits[0, -1] / trainer.temperature).log_softmax(dim=-1)


@pytest.mark.parametrize("arm", ["dirichlet", "multiplex"])
def test_probes_are_drawn_from_the_model_and_not_from_the_mixture(arm: str) -> None:
    model, rows = make_model(), 2000
    decoder = MixtureDecoder(ARMS[arm], build_phases(make_tokenizer()), draws_probes=True)
    input_ids = torch.tensor([[50, 60, 70]])
    torch.manual_seed(0)

    model.generate(input_ids.expand(rows, -1), custom_generate=decoder, max_new_tokens=1, do_sample=True, top_k=0)

    probes = decoder.rollout.probe_ids[:, 0].long()
    with torch.no_grad():
        probs = model(input_ids).logits[0, -1].softmax(dim=-1)
    assert torch.allclose(decoder.rollout.probe_logps[:, 0], probs[probes].log(), atol=1e-5)
    expected, counts = rows * probs, torch.bincount(probes, minlength=VOCABULARY)
    common = expected > 5
    chi_square, freedom = ((counts - expected)[common] ** 2 / expected[common]).sum(), common.sum()
    assert chi_square < freedom + 4 * (2 * freedom) ** 0.5
    # A probe is a candidate of its own row as often as of another one.
    candidate_ids = decoder.rollout.candidate_ids[:, 0]
    own, other = (
        (probes.unsqueeze(-1) == ids).any(dim=-1).float().mean() for ids in (candidate_ids, candidate_ids.roll(1, 0))
    )
    assert own.item() == pytest.approx(other.item(), abs=4 * (2 * 0.25 / rows) ** 0.5)


def test_probes_are_drawn_where_a_kl_term_needs_them(tmp_path: Path, prompts: Dataset) -> None:
    def draws_probes(**settings: Any) -> bool:
        trainer = make_trainer(tmp_path, prompts, **settings)
        return bool(trainer.decoder.draws_probes)

    make_model().save_pretrained(tmp_path / "model")
    path = str(tmp_path / "model")
    assert draws_probes(model=path, beta=0.1, strategy="top_k")
    assert draws_probes(model=path, beta=0.1, strategy="one_token", mixture_k=3)
    # An ordinary token is a draw from p already.
    assert not draws_probes(model=path, beta=0.1, strategy="one_token")
    assert not draws_probes(strategy="top_k")


def test_k3_is_inverted_from_the_smallest_to_the_largest_numbers() -> None:
    x = torch.logspace(-12, 1.9, 200, dtype=torch.float64, requires_grad=True)

    found = inverse_k3(x.expm1() - x)

    assert torch.allclose(found[60:], x[60:], rtol=1e-4)
    (slopes,) = torch.autograd.grad(found[60:].sum(), x)
    assert torch.allclose(slopes[60:], torch.ones(140, dtype=torch.float64), rtol=1e-3)
    zero = torch.zeros(1, requires_grad=True)
    assert inverse_k3(zero.expm1() - zero).item() == 0
