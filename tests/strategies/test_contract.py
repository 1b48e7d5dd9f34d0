"""What every registered strategy and every preset must satisfy; a new strategy is tested by being registered."""

import pytest
import torch
from strategy_properties import (
    LOGITS,
    atom_frequencies,
    gradient_bias,
    marginal_excess,
    score_mean,
    total_mass,
    variants,
    visible_gradients,
)

from mot_trl.strategies import Strategy
from mot_trl.strategies.gated import Gated
from mot_trl.strategies.mixture import is_mixed
from mot_trl.strategies.support import in_support
from mot_trl.strategies.surrogate import surrogate

VARIANTS = variants()
EXACT = {name: strategy for name, strategy in VARIANTS.items() if strategy.exact}
# What a coin decides between is scored given the coin, and a token is then drawn from q or from p: `test_gated.py`.
WITHOUT_COIN = {name: strategy for name, strategy in VARIANTS.items() if getattr(strategy, "rate", None) is None}
# The heaviest weight of a Dirichlet draw is no draw from its mean.
DRAWN = {name: strategy for name, strategy in WITHOUT_COIN.items() if getattr(strategy, "visible", "drawn") == "drawn"}
ONE_CANDIDATE = {name: strategy for name, strategy in VARIANTS.items() if getattr(strategy, "k", None) == 1}
MIXING = {name: strategy for name, strategy in EXACT.items() if name not in ONE_CANDIDATE}
WHOLE = {name: strategy for name, strategy in EXACT.items() if name in WITHOUT_COIN}
# A gate's density is that of what it wraps, in other slots.
INTEGRABLE = {
    name: strategy
    for name, strategy in WHOLE.items()
    if (getattr(strategy, "k", None) or 1) <= 2 and not isinstance(strategy, Gated)
}
# Of the gates around every strategy, one with independent draws, and one with weights that have a density.
QUICK_GATES = {"gated ['multiplex', 2, 0.5]", "gated ['dirichlet', 2, 0.5]"}


def each_of(strategies: dict[str, Strategy]) -> pytest.MarkDecorator:
    slow = {name for name in strategies if name.startswith("gated") and name not in QUICK_GATES}
    slow |= {name for name in strategies if name.endswith("adaptive")}
    cases = [
        pytest.param(strategy, id=name, marks=[pytest.mark.slow] if name in slow else [])
        for name, strategy in strategies.items()
    ]
    return pytest.mark.parametrize("strategy", cases)


def edge_logits() -> torch.Tensor:
    """Rows where arithmetic is hard: certainty, ties, far tails, forbidden tokens, fewer tokens than candidates."""
    inf = torch.inf
    return torch.tensor(
        [
            [16.2, 0.0, 0.0, 0.0, 0.0, 0.0],
            [30.0, 20.0, 10.0, 0.0, -10.0, -20.0],
            [150.0, 0.0, 0.0, 0.0, 0.0, 0.0],
            [0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
            [1.0, 1.0, -inf, -inf, -inf, -inf],
            [-inf, 3.0, -inf, -inf, -inf, -inf],
            [0.0, -inf, -95.0, -100.0, -120.0, -inf],
        ]
    )


@each_of(VARIANTS)
@pytest.mark.parametrize("logits", [LOGITS.expand(2000, -1), edge_logits().repeat(300, 1)], ids=["usual", "edges"])
def test_weights_sum_to_1_and_the_visible_token_is_a_candidate_with_weight(strategy: Strategy, logits: torch.Tensor):
    torch.manual_seed(0)
    logps = logits.log_softmax(dim=-1)

    candidate_ids, log_weights, visible_ids = strategy.draw(logps)

    assert log_weights.dtype == torch.float32
    assert ((candidate_ids >= 0) & (candidate_ids < 6)).all()
    assert not log_weights.isnan().any()
    torch.testing.assert_close(log_weights.exp().sum(dim=-1), torch.ones(len(logits)), atol=1e-6, rtol=0)
    assert ((candidate_ids == visible_ids.unsqueeze(-1)) & (log_weights.exp() > 0)).any(dim=-1).all()
    assert (logps.gather(-1, candidate_ids)[log_weights > -torch.inf] > -torch.inf).all()


@each_of(VARIANTS)
def test_log_prob_and_its_gradient_are_finite_at_the_edges(strategy: Strategy):
    torch.manual_seed(0)
    logps = edge_logits().repeat(1000, 1).log_softmax(dim=-1)
    mixture = strategy.draw(logps)

    for log_prob_type in ("density", "expected", "visible"):
        candidate_logps = logps.gather(-1, mixture.candidate_ids).requires_grad_()
        log_probs = surrogate(strategy, candidate_logps, mixture, log_prob_type=log_prob_type)
        (gradients,) = torch.autograd.grad(log_probs.sum(), candidate_logps)

        assert log_probs.shape == (len(logps),)
        assert log_probs.isfinite().all()
        assert gradients.isfinite().all()
        assert (gradients[~in_support(mixture)] == 0).all()


@each_of(ONE_CANDIDATE)
def test_one_candidate_is_one_drawn_token_or_greedy_decoding(strategy: Strategy):
    torch.manual_seed(0)
    logps = LOGITS.log_softmax(dim=-1).expand(2000, -1)

    mixture = strategy.draw(logps)
    log_probs = strategy.log_prob(logps.gather(-1, mixture.candidate_ids), mixture)

    assert not is_mixed(mixture.log_weights).any()
    greedy = (mixture.visible_ids == 0).all()
    drawn = torch.allclose(log_probs, logps[0][mixture.visible_ids]) and len(mixture.visible_ids.unique()) == 6
    assert greedy or drawn


@each_of(VARIANTS)
def test_bfloat16_log_probs_draw_what_their_float32_copies_draw(strategy: Strategy):
    torch.manual_seed(0)
    logps = (torch.randn(500, 6) * 3).log_softmax(dim=-1).bfloat16()

    torch.manual_seed(1)
    low = strategy.draw(logps)
    torch.manual_seed(1)
    high = strategy.draw(logps.float())

    for one, other in zip(low, high, strict=True):
        torch.testing.assert_close(one, other, atol=0, rtol=0)
    record = logps.gather(-1, low.candidate_ids)
    assert strategy.log_prob(record, low).dtype == torch.float32
    torch.testing.assert_close(strategy.log_prob(record, low), strategy.log_prob(record.float(), low))


@each_of(DRAWN)
def test_visible_tokens_are_draws_from_p(strategy: Strategy):
    assert marginal_excess(strategy) < 5


@each_of(DRAWN)
def test_visible_scores_give_the_exact_gradient_of_rewards_on_visible_tokens(strategy: Strategy):
    estimate, exact = visible_gradients(strategy)

    torch.testing.assert_close(estimate, exact, atol=1e-6, rtol=1e-4)


@each_of(EXACT)
def test_scores_have_mean_zero(strategy: Strategy):
    assert score_mean(strategy) < 4


@each_of(MIXING)
def test_policy_gradient_agrees_with_finite_differences(strategy: Strategy):
    assert gradient_bias(strategy) < 4


@each_of(WHOLE)
def test_probabilities_are_the_frequencies_of_what_is_drawn(strategy: Strategy):
    assert atom_frequencies(strategy) < 4.5


@each_of(INTEGRABLE)
def test_densities_integrate_to_1(strategy: Strategy):
    assert total_mass(strategy) == pytest.approx(1, abs=0.01)
