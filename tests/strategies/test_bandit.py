"""Policy gradient on one mixture with a known best token: each exact density climbs, and `expected` cannot."""

import pytest
import torch
from strategy_properties import LOGITS, variants

from mot_trl.strategies import Strategy, build_strategy
from mot_trl.strategies.gated import Gated
from mot_trl.strategies.surrogate import LogProbType, surrogate

BEST = 1  # The second most likely token, so that merely sharpening p does not find it.
EXACT = {name: s for name, s in variants().items() if s.exact and not (name.endswith("1]") and s.k == 1)}

UNCUT: dict[str, dict[str, float]] = {"dirichlet": {"min_prob": 0.0}, "gumbel_softmax": {"min_ratio": 0.0}}


def train(
    strategy: Strategy, *, log_prob_type: LogProbType = "density", baseline: bool = True, steps: int = 150
) -> torch.Tensor:
    """Token probabilities after REINFORCE with the best token's weight as reward, 256 draws a step."""
    torch.manual_seed(0)
    logits = LOGITS.clone().requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=0.05)
    for _ in range(steps):
        logps = logits.log_softmax(dim=-1).expand(256, -1)
        mixture = strategy.draw(logps.detach())
        rewards = (mixture.log_weights.exp() * (mixture.candidate_ids == BEST)).sum(dim=-1)
        advantages = rewards - rewards.mean() if baseline else rewards
        log_probs = surrogate(strategy, logps.gather(-1, mixture.candidate_ids), mixture, log_prob_type=log_prob_type)
        optimizer.zero_grad()
        (-(advantages * log_probs).mean()).backward()
        optimizer.step()
    return logits.detach().softmax(dim=-1)


@pytest.mark.parametrize(
    "strategy",
    # What a gate lets through is learned from as it is alone.
    [
        pytest.param(
            strategy,
            id=name,
            marks=[pytest.mark.slow] if isinstance(strategy, Gated) or getattr(strategy, "adaptive", False) else [],
        )
        for name, strategy in EXACT.items()
    ],
)
def test_an_exact_density_finds_the_best_token(strategy: Strategy):
    # A support floor ends learning where the others' shares fall below it, and the best token is drawn each time.
    assert train(strategy)[BEST] > 0.75


@pytest.mark.parametrize("name", ["dirichlet", "gumbel_softmax"])
def test_expected_gathers_p_on_the_candidates_whatever_the_reward_says(name: str):
    probs = train(build_strategy(name, k=3, **UNCUT[name]), log_prob_type="expected", baseline=False)

    assert probs[:3].sum() > 0.99
    assert probs[BEST] < probs[0]


@pytest.mark.parametrize("name", ["dirichlet", "gumbel_softmax"])
def test_expected_with_a_baseline_has_no_gradient(name: str):
    strategy = build_strategy(name, k=3, **UNCUT[name])
    logps = LOGITS.clone().requires_grad_().log_softmax(dim=-1)
    rows = logps.expand(256, -1)
    mixture = strategy.draw(rows.detach())
    advantages = torch.randn(256)
    log_probs = surrogate(strategy, rows.gather(-1, mixture.candidate_ids), mixture, log_prob_type="expected")

    (gradients,) = torch.autograd.grad(((advantages - advantages.mean()) * log_probs).mean(), logps)

    torch.testing.assert_close(gradients, torch.zeros(6), atol=1e-6, rtol=0)
