"""Adaptive draws: no more candidates than the distribution has tokens in effect, scored by what the record holds."""

import inspect
from dataclasses import replace
from typing import Any

import pytest
import torch
from conftest import make_model
from replaying import decode, drawn, replay, with_heads

from mot_trl.strategies import STRATEGIES, Strategy, build_strategy
from mot_trl.strategies.mixture import Mixture
from mot_trl.strategies.support import entropy, in_effect, in_support

ADAPTIVE = [name for name, kind in STRATEGIES.items() if "adaptive" in inspect.signature(kind).parameters]
# Floors that leave nothing out, so that only the number of candidates differs.
NO_FLOOR = {
    "dirichlet": {"min_prob": 0.0},
    "gumbel_softmax": {"min_ratio": 0.0},
    "without_replacement": {"min_rest": 1e-5},
}
K, VOCABULARY = 5, 12


def make(name: str, **options: Any) -> Strategy:
    return build_strategy(name, **{"k": K, **NO_FLOOR.get(name, {}), **options})


def uneven(rows: int = 400) -> torch.Tensor:
    """Distributions from nearly certain to nearly uniform."""
    torch.manual_seed(0)
    scales = torch.logspace(-1, 0.8, rows).unsqueeze(-1)
    return (torch.randn(rows, VOCABULARY) * scales).log_softmax(dim=-1)


@pytest.mark.parametrize("tokens", [1, 2, 3, 7])
def test_a_uniform_distribution_has_as_many_tokens_in_effect_as_it_has_tokens(tokens: int):
    logits = torch.full((1, 12), -torch.inf)
    logits[:, :tokens] = 0.0

    assert in_effect(logits.log_softmax(dim=-1), 10).tolist() == [[slot < tokens for slot in range(10)]]


def test_something_is_drawn_however_certain_p_is():
    logps = torch.tensor([[0.0, -40.0, -60.0]]).log_softmax(dim=-1)

    for name in ADAPTIVE:
        assert in_support(make(name, k=3, adaptive=True).draw(logps)).sum().item() == 1


@pytest.mark.parametrize("name", ADAPTIVE)
def test_as_many_are_drawn_as_p_has_tokens_in_effect(name: str):
    logps = uneven()
    counts = entropy(logps).exp().round().clamp(1, K).int()

    mixture = make(name, adaptive=True).draw(logps)

    assert torch.equal(in_support(mixture).sum(dim=-1).int(), counts)
    assert set(counts.tolist()) == set(range(1, K + 1))


@pytest.mark.parametrize("name", ADAPTIVE)
def test_a_draw_is_scored_as_one_of_a_strategy_with_that_many_candidates(name: str):
    logps = uneven()
    strategy = make(name, adaptive=True)
    mixture = strategy.draw(logps)
    # Scored under another model, whose entropies are others.
    moved = (logps * 0.7).log_softmax(dim=-1).gather(-1, mixture.candidate_ids)

    scores, visible = strategy.log_prob(moved, mixture), strategy.visible_log_prob(moved, mixture)

    counts = in_support(mixture).sum(dim=-1)
    for count in range(1, K + 1):
        rows, alone = counts == count, make(name, k=count)
        record = Mixture(
            mixture.candidate_ids[rows, :count], mixture.log_weights[rows, :count], mixture.visible_ids[rows]
        )
        torch.testing.assert_close(scores[rows], alone.log_prob(moved[rows, :count], record), atol=2e-5, rtol=1e-5)
        torch.testing.assert_close(visible[rows], alone.visible_log_prob(moved[rows, :count], record))


@pytest.mark.parametrize("name", ADAPTIVE)
def test_the_draws_are_those_of_a_strategy_with_that_many_candidates(name: str):
    torch.manual_seed(0)
    logps = torch.tensor([0.5, 0.3, 0.1, 0.1]).log().expand(20_000, -1)
    assert in_effect(logps[:1], K).sum() == 3

    adaptive, fixed = (each.draw(logps) for each in (make(name, k=4, adaptive=True), make(name, k=3)))

    for one, other in ((adaptive.log_weights[:, :3], fixed.log_weights), (adaptive.visible_ids, fixed.visible_ids)):
        means = [each.float().clamp_min(-30).exp().mean(dim=0) for each in (one, other)]
        assert torch.allclose(*means, rtol=0.05, atol=0.01)
    assert (adaptive.log_weights[:, 3] == -torch.inf).all()


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name != "top_k" else []) for name in ADAPTIVE]
)
def test_replay_equals_generation(name: str):
    strategy = make(name, adaptive=True)
    model = make_model("qwen2")
    with torch.no_grad():
        model.lm_head.weight.mul_(3)
    model = with_heads(model, strategy)

    sequences, mask, prompt_length, rollout = decode(model, strategy, max_mixture_tokens=12, max_new_tokens=24)
    logps = replay(model, strategy, sequences, mask, prompt_length, rollout)

    where = drawn(mask, prompt_length, rollout)
    assert torch.allclose(logps[where], rollout.logps[where], atol=2e-5)
    counts = (rollout.log_weights > -torch.inf).sum(dim=-1)[rollout.thinking_mask]
    assert len(counts.unique()) > 2


def test_the_gate_and_the_number_of_candidates_may_both_follow_the_entropy():
    logps = uneven()
    strategy = build_strategy("gated", wrapped="multiplex", k=K, adaptive=True, min_entropy=1.0)

    mixture = strategy.draw(logps)

    mixed = entropy(logps) >= 1.0
    assert torch.equal(in_support(mixture).sum(dim=-1)[mixed], in_effect(logps, K).sum(dim=-1)[mixed])
    assert ((mixture.log_weights.exp() > 0).sum(dim=-1)[~mixed] == 1).all()
    assert replace(strategy, min_entropy=None) != strategy
