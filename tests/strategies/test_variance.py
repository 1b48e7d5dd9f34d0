"""Where p is peaked, censored and discretized schemes score with at most a third of the published variance."""

import pytest
import torch

from mot_trl.strategies import Strategy, build_strategy

PEAKED = torch.tensor([0.93, 0.03, 0.02, 0.01, 0.006, 0.004]).log()


def score_variance(strategy: Strategy) -> float:
    """Trace of the score's covariance in the logits, from 20,000 draws."""
    torch.manual_seed(0)
    logits = PEAKED.expand(20_000, -1).clone().requires_grad_()
    logps = logits.log_softmax(dim=-1)
    mixture = strategy.draw(logps.detach())
    log_probs = strategy.log_prob(logps.gather(-1, mixture.candidate_ids), mixture)
    (gradients,) = torch.autograd.grad(log_probs.sum(), logits)
    return gradients.var(dim=0).sum().item()


@pytest.mark.parametrize("k", [2, 3, 5])
def test_an_urn_is_quieter_than_the_dirichlet_distribution(k: int):
    published = score_variance(build_strategy("dirichlet", k=k, min_prob=0.0))

    assert 0 < 3 * score_variance(build_strategy("polya_urn", k=k)) < published


@pytest.mark.parametrize("temperature", [0.1, 0.5])
@pytest.mark.parametrize("k", [2, 3, 5])
def test_censored_gumbel_weights_are_quieter(k: int, temperature: float):
    published = score_variance(build_strategy("gumbel_softmax", k=k, temperature=temperature, min_ratio=0.0))

    assert 0 < 3 * score_variance(build_strategy("gumbel_softmax", k=k, temperature=temperature)) < published


def test_a_support_floor_leaves_nothing_random_where_p_is_peaked():
    assert score_variance(build_strategy("dirichlet", k=3, min_prob=0.15)) < 1e-9
