"""The property checks must be able to fail: densities that are wrong as published code is wrong violate them."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from strategy_properties import (
    atom_frequencies,
    gradient_bias,
    marginal_excess,
    score_mean,
    total_mass,
    visible_gradients,
)
from torch import Tensor

from mot_trl.strategies import Strategy, build_strategy
from mot_trl.strategies.base import visible_logp
from mot_trl.strategies.mixture import Mixture
from mot_trl.strategies.support import in_support, renormalize
from mot_trl.strategies.surrogate import surrogate


@dataclasses.dataclass(frozen=True)
class Scored:
    """A strategy's draws, scored by something else."""

    strategy: Strategy
    wrong: Callable[[Strategy, Tensor, Mixture], Tensor]
    exact: bool = True

    def draw(self, logps: Tensor) -> Mixture:
        return self.strategy.draw(logps)

    def log_prob(self, candidate_logps: Tensor, mixture: Mixture) -> Tensor:
        return self.wrong(self.strategy, candidate_logps, mixture)

    visible_log_prob = log_prob


def scored(wrong: Callable[[Strategy, Tensor, Mixture], Tensor], name: str, **options: Any) -> Scored:
    return Scored(build_strategy(name, **options), wrong)


def expected(strategy: Strategy, candidate_logps: Tensor, mixture: Mixture) -> Tensor:
    """MoT-G's score of different tokens."""
    return surrogate(strategy, candidate_logps, mixture, log_prob_type="expected")


def sum_of_logps(strategy: Strategy, candidate_logps: Tensor, mixture: Mixture) -> Tensor:
    """Draws without replacement, scored as if they were independent."""
    return candidate_logps.sum(dim=-1)


def mean_of_logps(strategy: Strategy, candidate_logps: Tensor, mixture: Mixture) -> Tensor:
    """CoT2's score of independent draws: a score of mean zero, and a gradient too small."""
    return candidate_logps.mean(dim=-1)


def untruncated(strategy: Strategy, candidate_logps: Tensor, mixture: Mixture) -> Tensor:
    """A truncated token, scored by its probability in the whole vocabulary."""
    return visible_logp(candidate_logps, mixture)


def uncensored(strategy: Strategy, candidate_logps: Tensor, mixture: Mixture) -> Tensor:
    """Censored Gumbel weights, scored as if only the candidates with weight had been drawn from."""
    weighted = mixture.log_weights.exp() > 0
    record = mixture._replace(log_weights=mixture.log_weights.masked_fill(~weighted, -torch.inf))
    return strategy.log_prob(candidate_logps, record)


def unnormalized(strategy: Strategy, candidate_logps: Tensor, mixture: Mixture) -> Tensor:
    """A Dirichlet density without the gamma functions of each concentration."""
    used = in_support(mixture)
    each = (renormalize(candidate_logps, used).exp() * used).clamp_min(1e-3)
    return ((each - 1) * mixture.log_weights.masked_fill(~used, 0.0)).sum(dim=-1)


def flipped(strategy: Strategy, candidate_logps: Tensor, mixture: Mixture) -> Tensor:
    """A density of the right distribution with the candidates' probabilities in the wrong slots."""
    return strategy.log_prob(candidate_logps.flip(-1), mixture)


def half_a_nat_off(strategy: Strategy, candidate_logps: Tensor, mixture: Mixture) -> Tensor:
    """A right score and a wrong constant."""
    return strategy.log_prob(candidate_logps, mixture) - 0.5


WRONG = {
    "different tokens by sum q log p": scored(expected, "without_replacement", k=2),
    "different tokens as independent": scored(sum_of_logps, "without_replacement", k=3),
    "truncated token by log p": scored(untruncated, "one_token", k=3),
    "dirichlet without normalizer": scored(unnormalized, "dirichlet", k=3),
    "dirichlet by its visible token": scored(untruncated, "dirichlet", k=2),
    "gumbel without its censored part": scored(uncensored, "gumbel_softmax", k=3),
    "gumbel in the wrong slots": scored(flipped, "gumbel_softmax", k=2, min_ratio=0.0),
    "urn in the wrong slots": scored(flipped, "polya_urn", k=2),
}


@pytest.mark.parametrize("strategy", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_density_has_a_score_whose_mean_is_not_zero(strategy: Scored):
    assert score_mean(strategy) > 8


@pytest.mark.parametrize("strategy", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_density_has_a_biased_policy_gradient(strategy: Scored):
    assert gradient_bias(strategy) > 6


def test_a_score_of_mean_zero_may_still_be_biased():
    strategy = scored(mean_of_logps, "multiplex", k=3)

    assert score_mean(strategy) < 4
    assert gradient_bias(strategy) > 6


@pytest.mark.parametrize("name", ["dirichlet", "gumbel_softmax", "polya_urn", "multiplex", "without_replacement"])
def test_a_wrong_constant_shows_in_the_mass(name: str):
    assert total_mass(scored(half_a_nat_off, name, k=2)) == pytest.approx(0.6065, abs=0.01)


@pytest.mark.parametrize("name", ["gumbel_softmax", "polya_urn", "multiplex", "without_replacement"])
def test_a_wrong_constant_shows_in_the_frequencies(name: str):
    assert atom_frequencies(scored(half_a_nat_off, name, k=3)) > 20


def test_a_visible_token_that_is_no_draw_shows():
    assert marginal_excess(build_strategy("dirichlet", k=3, visible="heaviest")) > 20


@pytest.mark.parametrize("name", ["top_k", "nucleus", "dirichlet", "polya_urn", "gumbel_softmax"])
def test_log_p_of_a_token_drawn_from_the_candidates_is_a_biased_visible_score(name: str):
    estimate, exact = visible_gradients(scored(untruncated, name, k=2))

    assert (estimate - exact).norm() > exact.norm() / 3
    assert torch.cosine_similarity(estimate.flatten(), exact.flatten(), dim=0) < 0.95
