"""A gate mixes at some steps and draws a plain token at the others, and the record says which."""

import pytest
import torch
from conftest import make_model
from replaying import decode, drawn, replay, with_heads
from strategy_properties import LOGITS

from mot_trl.modeling.embedding import blend_of
from mot_trl.strategies import STRATEGIES, Strategy, build_strategy
from mot_trl.strategies.gated import Gated
from mot_trl.strategies.mixture import LOG_PLAIN_TOKEN, Mixture, is_mixed
from mot_trl.strategies.support import entropy, in_support
from mot_trl.strategies.surrogate import surrogate

DRAWS = 20_000
LOGPS = LOGITS.log_softmax(dim=-1)
INNER = [name for name in STRATEGIES if name != "gated"]


def was_open(mixture: Mixture) -> torch.Tensor:
    """Which rows are mixtures: the record marks the plain tokens."""
    return mixture.log_weights[..., 1] != LOG_PLAIN_TOKEN


def rows_of(mixture: Mixture, kept: torch.Tensor, slots: slice | torch.Tensor) -> Mixture:
    columns = (each[kept][:, slots] for each in (mixture.candidate_ids, mixture.log_weights))
    return Mixture(*columns, mixture.visible_ids[kept])


def frequencies(token_ids: torch.Tensor) -> torch.Tensor:
    return torch.bincount(token_ids, minlength=len(LOGITS)) / len(token_ids)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.7, 1.0])
def test_it_opens_at_the_rate(rate: float):
    torch.manual_seed(0)

    opened = was_open(build_strategy("gated", rate=rate).draw(LOGPS.expand(DRAWS, -1)))

    assert opened.float().mean().item() == pytest.approx(rate, abs=4 * (rate * (1 - rate) / DRAWS) ** 0.5)


def test_without_options_it_opens_as_published_and_with_a_threshold_wherever_p_is_undecided():
    torch.manual_seed(0)
    scales = torch.linspace(0, 8, DRAWS).unsqueeze(-1)
    logps = (LOGITS * scales).log_softmax(dim=-1)

    assert was_open(Gated().draw(logps)).float().mean().item() == pytest.approx(0.1, abs=0.01)
    opened = was_open(Gated(min_entropy=1.0).draw(logps))
    assert torch.equal(opened, entropy(logps) >= 1.0)
    assert 0.1 < opened.float().mean() < 0.9
    both = was_open(Gated(rate=0.5, min_entropy=1.0).draw(logps))
    assert not (both & ~opened).any()
    assert (both.sum() / opened.sum()).item() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("name", INNER)
def test_each_side_draws_as_it_does_alone(name: str):
    torch.manual_seed(0)
    inner = build_strategy(name, k=3)
    logps = LOGPS.expand(DRAWS, -1)

    mixture = Gated(inner, rate=0.5).draw(logps)
    alone = inner.draw(logps)

    opened = was_open(mixture)
    plain = rows_of(mixture, ~opened, slice(1))
    assert torch.equal(plain.candidate_ids[:, 0], plain.visible_ids)
    assert (plain.log_weights == 0).all()
    assert torch.allclose(frequencies(plain.visible_ids), LOGPS.exp(), atol=0.02)
    mixed = rows_of(mixture, opened, slice(-1))
    assert torch.allclose(frequencies(mixed.visible_ids), frequencies(alone.visible_ids), atol=0.02)
    weights = [each.log_weights.exp().sort(dim=-1).values.mean(dim=0) for each in (mixed, alone)]
    assert torch.allclose(*weights, atol=0.02)
    assert is_mixed(mixture.log_weights[opened]).float().mean().item() == pytest.approx(
        is_mixed(alone.log_weights).float().mean().item(), abs=0.02
    )


@pytest.mark.parametrize("score", ["density", "visible"])
@pytest.mark.parametrize("name", INNER)
def test_each_side_is_scored_as_it_is_alone(name: str, score: str):
    torch.manual_seed(0)
    gate = Gated(build_strategy(name, k=3), rate=0.5)
    mixture = gate.draw((LOGITS * 3).log_softmax(dim=-1).expand(500, -1))
    # Scored under another model than the one that drew.
    candidate_logps = LOGPS[mixture.candidate_ids].requires_grad_()

    scores = surrogate(gate, candidate_logps, mixture, log_prob_type=score)
    (gradients,) = torch.autograd.grad(scores.sum(), candidate_logps)

    opened = was_open(mixture)
    mixed = rows_of(mixture, opened, slice(-1))
    own = surrogate(gate.wrapped, candidate_logps[opened, :-1], mixed, log_prob_type=score)
    assert torch.equal(scores[opened], own)
    assert torch.equal(scores[~opened], LOGPS[mixture.visible_ids[~opened]])
    assert (gradients[~opened, 0] == 1).all()
    assert (gradients[~opened, 1:] == 0).all()
    assert (gradients[opened, -1] == 0).all()


def test_a_lone_candidate_of_a_mixture_is_not_taken_for_a_plain_token():
    logps = torch.tensor([[0.97, 0.01, 0.01, 0.01]]).log().expand(200, -1)
    gate = build_strategy("gated", wrapped="dirichlet", k=3, rate=0.5)
    torch.manual_seed(0)

    mixture = gate.draw(logps)
    scores = gate.log_prob(logps.gather(-1, mixture.candidate_ids), mixture)

    opened = was_open(mixture)
    assert not is_mixed(mixture.log_weights).any()
    assert (scores[opened] == 0).all()
    assert torch.equal(scores[~opened], logps[0][mixture.visible_ids[~opened]])


def test_a_weight_that_happens_to_be_the_mark_is_a_weight():
    log_weights = torch.tensor([[0.0, LOG_PLAIN_TOKEN, -torch.inf]])
    record = Mixture(torch.tensor([[0, 1, 0]]), log_weights, torch.tensor([0]))
    gate = build_strategy("gated", wrapped="dirichlet", k=2)

    score = gate.log_prob(LOGPS[record.candidate_ids], record)

    own = rows_of(record, torch.tensor([True]), slice(-1))
    assert torch.equal(score, gate.wrapped.log_prob(LOGPS[own.candidate_ids], own))


@pytest.mark.parametrize("k", [1, 2])
def test_a_record_that_has_lost_its_unused_slots_is_scored_alike(k: int):
    torch.manual_seed(0)
    gate = build_strategy("gated", wrapped="multiplex", k=k, rate=0.5)
    mixture = gate.draw(LOGPS.expand(200, -1))
    scores = gate.log_prob(LOGPS[mixture.candidate_ids], mixture)

    for row in range(200):
        used = in_support(mixture)[row]
        record = rows_of(mixture, torch.arange(200) == row, used)
        assert torch.equal(gate.log_prob(LOGPS[record.candidate_ids], record)[0], scores[row])


def test_rounding_that_crosses_the_threshold_later_changes_nothing():
    flat = torch.zeros(4).log_softmax(dim=-1)
    threshold = entropy(flat).item()
    gate = build_strategy("gated", wrapped="multiplex", k=2, min_entropy=threshold)
    torch.manual_seed(0)
    mixture = gate.draw(flat.unsqueeze(0))
    nearly = torch.tensor([1e-3, 0.0, 0.0, 0.0]).log_softmax(dim=-1)

    score = gate.log_prob(nearly[mixture.candidate_ids], mixture)

    assert was_open(mixture).all()
    assert not was_open(gate.draw(nearly.unsqueeze(0))).any()
    assert torch.equal(score, nearly[mixture.candidate_ids[:, :2]].sum(dim=-1))


def test_a_greedy_step_is_scored_as_the_wrapped_strategy_scores_it():
    one = torch.tensor([[1]])
    record = Mixture(one, torch.zeros(1, 1), one[0])

    for name in INNER:
        inner = build_strategy(name, k=3)
        logps = torch.tensor([[-0.5]])
        assert torch.equal(Gated(inner).log_prob(logps, record), inner.log_prob(logps, record))


def test_it_blends_as_the_wrapped_strategy_does():
    own = build_strategy("elementwise_max", k=2)

    assert blend_of(Gated(own)) == blend_of(own)
    assert blend_of(Gated()) == blend_of(build_strategy("top_k"))


def gates() -> list:
    quick = {"multiplex", "dirichlet"}
    return [pytest.param(name, marks=[] if name in quick else [pytest.mark.slow]) for name in INNER]


@pytest.mark.parametrize("name", gates())
def test_replay_equals_generation(name: str):
    # A threshold between the entropies of the model, so that both sides of it come up, and both of the coin.
    strategy: Strategy = build_strategy("gated", wrapped=name, k=3, rate=0.7, min_entropy=4.5)
    model = with_heads(make_model("qwen2"), strategy)

    sequences, mask, prompt_length, rollout = decode(model, strategy, max_mixture_tokens=12, max_new_tokens=24)
    logps = replay(model, strategy, sequences, mask, prompt_length, rollout)

    where = drawn(mask, prompt_length, rollout)
    assert torch.allclose(logps[where], rollout.logps[where], atol=1e-5)
    plain = rollout.log_weights[..., 1] == LOG_PLAIN_TOKEN
    assert plain.any()
    assert (rollout.thinking_mask & ~plain).any()
    assert not (plain & (rollout.mixture_mask | ~rollout.thinking_mask)).any()
