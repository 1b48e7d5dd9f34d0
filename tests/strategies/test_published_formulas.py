"""What is particular to one strategy: agreement with its paper's formula, written here a second time."""

import itertools
import math

import pytest
import torch
from strategy_properties import LOGITS
from torch.distributions import Dirichlet, RelaxedOneHotCategorical

from mot_trl.strategies import BlendingStrategy, build_strategy
from mot_trl.strategies.mixture import LOG_ZERO_WEIGHT, Mixture, is_mixed
from mot_trl.strategies.surrogate import surrogate

LOGPS = LOGITS.log_softmax(dim=-1).expand(500, -1)


def draw(name: str, **options) -> tuple[Mixture, torch.Tensor]:
    """Mixtures, and their log-probabilities."""
    torch.manual_seed(0)
    strategy = build_strategy(name, **options)
    mixture = strategy.draw(LOGPS)
    return mixture, strategy.log_prob(LOGPS.gather(-1, mixture.candidate_ids), mixture)


def test_top_k_weights_are_p_renormalized_on_the_most_likely_tokens():
    mixture, log_probs = draw("top_k", k=3)

    assert (mixture.candidate_ids == torch.tensor([0, 1, 2])).all()
    torch.testing.assert_close(mixture.log_weights, LOGITS[:3].log_softmax(dim=-1).expand(500, -1))
    torch.testing.assert_close(log_probs, LOGITS[:3].log_softmax(dim=-1)[mixture.visible_ids])


@pytest.mark.parametrize(
    ("name", "options", "used"),
    [
        ("nucleus", {"k": 6, "nucleus": 0.6}, 2),
        ("nucleus", {"k": 6, "nucleus": 0.4}, 1),
        ("nucleus", {"k": 2, "nucleus": 0.9}, 2),
        ("min_p", {"k": 6, "min_p": 0.15}, 4),
        ("top_k", {"k": 3, "min_prob": 0.25}, 2),
        ("top_k", {"k": 2, "min_prob": 0.9}, 1),
    ],
)
def test_candidates_outside_of_the_rule_are_unused(name: str, options: dict[str, float], used: int):
    mixture, _ = draw(name, **options)

    assert ((mixture.log_weights > -torch.inf).sum(dim=-1) == used).all()
    torch.testing.assert_close(mixture.log_weights[0, :used], LOGITS[:used].log_softmax(dim=-1))


def test_a_truncated_token_is_scored_by_its_share_and_records_its_support():
    mixture, log_probs = draw("one_token", k=4, min_prob=0.1)

    assert not is_mixed(mixture.log_weights).any()
    assert (mixture.log_weights[:, 3] == -torch.inf).all()
    assert set(mixture.log_weights[:, :3].unique().tolist()) == {LOG_ZERO_WEIGHT, 0.0}
    torch.testing.assert_close(log_probs, LOGITS[:3].log_softmax(dim=-1)[mixture.visible_ids])


def test_dirichlet_density_is_torch_s():
    mixture, log_probs = draw("dirichlet", k=3, concentration=4.0, min_prob=0.0)

    expected = Dirichlet(4 * LOGITS[:3].softmax(dim=-1), validate_args=False).log_prob(mixture.log_weights.exp())
    torch.testing.assert_close(log_probs, expected, rtol=1e-4, atol=1e-3)


def test_uncensored_gumbel_density_is_torch_s():
    mixture, log_probs = draw("gumbel_softmax", k=3, temperature=0.5, min_ratio=0.0)

    concrete = RelaxedOneHotCategorical(torch.tensor(0.5), logits=LOGITS[:3], validate_args=False)
    expected = concrete.log_prob(mixture.log_weights.exp())
    torch.testing.assert_close(log_probs, expected, rtol=1e-4, atol=1e-3)


def test_a_lone_gumbel_winner_has_the_probability_of_beating_all_by_the_margin():
    mixture, log_probs = draw("gumbel_softmax", k=3, temperature=0.5, min_ratio=0.04)
    lone = ~is_mixed(mixture.log_weights)

    shares = LOGITS[:3].softmax(dim=-1)[mixture.visible_ids]

    margin = 0.04**-0.5
    torch.testing.assert_close(log_probs[lone].exp(), (shares / (shares + margin * (1 - shares)))[lone])
    assert 0 < lone.sum() < 500


def test_gumbel_weights_below_the_ratio_are_censored_and_the_others_are_not():
    mixture, _ = draw("gumbel_softmax", k=5, temperature=1.0, min_ratio=0.2)

    ratios = (mixture.log_weights - mixture.log_weights.amax(dim=-1, keepdim=True)).exp()
    assert ((ratios == 0) | (ratios >= 0.2 - 1e-6)).all()
    assert (mixture.log_weights[ratios == 0] == LOG_ZERO_WEIGHT).all()


def test_an_urn_of_resolution_1_is_a_truncated_token():
    mixture, log_probs = draw("polya_urn", k=3, resolution=1)

    assert not is_mixed(mixture.log_weights).any()
    torch.testing.assert_close(log_probs, LOGITS[:3].log_softmax(dim=-1)[mixture.visible_ids])


def test_urn_probabilities_sum_to_1_over_all_counts():
    strategy = build_strategy("polya_urn", k=3, concentration=2.5, resolution=4)
    counts = torch.tensor([c for c in itertools.product(range(5), repeat=3) if sum(c) == 4])
    log_weights = (counts / 4).log().clamp_min(LOG_ZERO_WEIGHT)
    record = Mixture(torch.arange(3).expand(len(counts), -1), log_weights, counts.argmax(dim=-1))

    log_probs = strategy.log_prob(LOGPS[: len(counts), :3], record)

    assert log_probs.exp().sum().item() == pytest.approx(1, abs=1e-5)


def test_urn_weights_have_the_mean_of_a_dirichlet_and_its_spread_but_for_rounding():
    torch.manual_seed(0)
    rows = LOGITS.log_softmax(dim=-1).expand(100_000, -1)
    weights = build_strategy("polya_urn", k=3, resolution=16).draw(rows).log_weights.exp()

    q = LOGITS[:3].softmax(dim=-1)
    torch.testing.assert_close(weights.mean(dim=0), q, atol=5e-3, rtol=0)
    torch.testing.assert_close(weights.var(dim=0), q * (1 - q) / 2 * (1 + 1 / 16), atol=2e-3, rtol=0)


def test_probabilities_of_draws_without_replacement_sum_to_1_over_all_orders():
    strategy = build_strategy("without_replacement", k=3)
    orders = torch.tensor(list(itertools.permutations(range(6), 3)))
    record = Mixture(orders, torch.full((len(orders), 3), -math.log(3)), orders[:, 0])

    log_probs = strategy.log_prob(LOGPS[: len(orders)].gather(-1, orders), record)

    assert log_probs.exp().sum().item() == pytest.approx(1, abs=1e-5)


def test_drawing_ends_where_float32_cannot_tell_what_is_left():
    torch.manual_seed(0)
    logps = torch.tensor([[16.2, 0.0, 0.0, 0.0]]).log_softmax(dim=-1)
    strategy = build_strategy("without_replacement", k=3)

    mixture = strategy.draw(logps)

    assert mixture.log_weights.tolist() == [[0.0, -torch.inf, -torch.inf]]


def test_a_token_drawn_twice_has_its_weight_once_and_counts_twice():
    mixture, log_probs = draw("multiplex", k=3)
    candidate_logps = LOGPS.gather(-1, mixture.candidate_ids)
    distinct = torch.tensor([len(set(ids)) for ids in mixture.candidate_ids.tolist()])

    torch.testing.assert_close(log_probs, candidate_logps.sum(dim=-1))
    assert ((mixture.log_weights.exp() > 0).sum(dim=-1) == distinct).all()
    assert (is_mixed(mixture.log_weights) == (distinct > 1)).all()
    assert {1, 2, 3} == set(distinct.tolist())


def test_multiplex_weights_are_p_on_the_set_of_tokens_drawn():
    mixture, _ = draw("multiplex", k=3, weights="renormalized")
    weights = torch.zeros(500, 6).scatter_add(-1, mixture.candidate_ids, mixture.log_weights.exp())

    drawn = torch.zeros(500, 6).scatter(-1, mixture.candidate_ids, 1.0)
    expected = LOGPS.exp() * drawn
    torch.testing.assert_close(weights, expected / expected.sum(dim=-1, keepdim=True))


def test_mixture_of_inputs_is_its_paper_s_posterior_mean():
    mixture, _ = draw("mixture_of_inputs", k=6, beta=2.0)
    p = LOGPS[0].exp()
    entropy = -(p * p.log()).sum() / math.log(6)

    weights = torch.zeros(500, 6).scatter(-1, mixture.candidate_ids, mixture.log_weights.exp())

    onehot = torch.nn.functional.one_hot(mixture.visible_ids, 6)
    # Eq. 5 of the paper: entropy-scaled prior, beta + 1 - H pseudo-counts for the token drawn.
    torch.testing.assert_close(weights, (entropy * p + (2 + 1 - entropy) * onehot) / (2 + 1))


def test_the_token_drawn_is_among_few_inputs():
    mixture, _ = draw("mixture_of_inputs", k=2)

    assert (mixture.candidate_ids[:, 0] == 0).all()
    assert len(mixture.visible_ids.unique()) == 6
    assert (mixture.candidate_ids == mixture.visible_ids.unsqueeze(-1)).any(dim=-1).all()


def test_elementwise_maximum_leaves_unused_slots_out():
    strategy = build_strategy("elementwise_max")
    assert isinstance(strategy, BlendingStrategy)
    embeddings = torch.tensor([[[1.0, -2.0], [0.0, -3.0], [9.0, 9.0]]])

    blended = strategy.blend(embeddings, torch.tensor([[-0.1, -2.0, -torch.inf]]))

    assert blended.tolist() == [[1.0, -2.0]]


def test_expected_is_the_mean_log_probability_of_the_candidates_with_weight():
    strategy = build_strategy("top_k", k=3)
    mixture = strategy.draw(LOGPS)
    candidate_logps = LOGPS.gather(-1, mixture.candidate_ids).requires_grad_()

    value = surrogate(strategy, candidate_logps, mixture, log_prob_type="expected")
    (gradients,) = torch.autograd.grad(value.sum(), candidate_logps)

    q = LOGITS[:3].softmax(dim=-1)
    torch.testing.assert_close(value, (q * LOGPS[0, :3]).sum().expand(500))
    torch.testing.assert_close(gradients, q.expand(500, -1))


@pytest.mark.untyped("a type of score that does not exist")
def test_an_unknown_score_is_refused():
    strategy = build_strategy("top_k")
    mixture = strategy.draw(LOGPS)

    with pytest.raises(ValueError, match="mixture_score 'mean'"):
        surrogate(strategy, LOGPS.gather(-1, mixture.candidate_ids), mixture, log_prob_type="mean")  # ty: ignore


def test_a_dirichlet_shows_what_its_least_concentration_lifts_as_often_as_its_visible_score_says():
    torch.manual_seed(0)
    strategy = build_strategy("dirichlet", k=3, concentration=0.003, min_prob=0.0)
    logps = LOGPS[:1].expand(50_000, -1)

    mixture = strategy.draw(logps)

    scores = surrogate(strategy, logps.gather(-1, mixture.candidate_ids), mixture, log_prob_type="visible")
    # Concentrations of 0.0015, 0.0009 and 0.0006, of which the last two are lifted to 0.001.
    counts = torch.bincount(mixture.visible_ids, minlength=3)[:3]
    expected = torch.stack([scores[mixture.visible_ids == token][0] for token in range(3)]).exp()
    errors = (expected * (1 - expected) / 50_000).sqrt()
    assert ((counts / 50_000 - expected).abs() < 4 * errors).all()


def test_a_strategy_of_one_s_own_must_say_what_its_visible_token_is_drawn_from():
    class Own:
        exact = False

        def draw(self, logps: torch.Tensor) -> Mixture:
            return build_strategy("top_k").draw(logps)

        def log_prob(self, candidate_logps: torch.Tensor, mixture: Mixture) -> torch.Tensor:
            return candidate_logps.sum(dim=-1)

    mixture = Own().draw(LOGPS)

    with pytest.raises(ValueError, match=r"Own does not say .* `visible_log_prob`"):
        surrogate(Own(), LOGPS.gather(-1, mixture.candidate_ids), mixture, log_prob_type="visible")
