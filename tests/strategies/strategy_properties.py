"""Properties of a strategy's draw and density, each as a function that measures how far they are violated."""

import inspect
import itertools
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin, get_type_hints

import torch
from torch import Tensor

from mot_trl.strategies import STRATEGIES, Strategy, build_strategy
from mot_trl.strategies.mixture import Mixture
from mot_trl.strategies.presets import PRESETS
from mot_trl.strategies.support import in_support
from mot_trl.strategies.surrogate import surrogate

# No candidate is near a support's edge, where a density has no derivative.
LOGITS = torch.tensor([0.42, 0.25, 0.17, 0.08, 0.05, 0.03]).log()
EMBEDDINGS = torch.tensor([[0.9, -0.3], [-0.7, 0.8], [0.2, 1.1], [-1.2, -0.6], [0.5, 0.1], [1.4, -1.0]])
DRAWS = 100_000
EVALUATIONS = 100_000
GATES = [{"wrapped": name, "k": 2, "rate": 0.5} for name in STRATEGIES if name != "gated"]
GATES += [{"wrapped": name, "k": 2, "min_entropy": 1.0} for name in ("multiplex", "polya_urn")]


def variants() -> dict[str, Strategy]:
    """Every registered strategy with 1, 2 and 3 candidates and each choice of its `Literal` options; every preset.

    Some are `adaptive` with 6 candidates, of which `LOGITS` use 4; `test_adaptive.py` has the others.
    `gated` wraps each of the others with a fair coin, and some with a threshold that `LOGITS` reach.
    """
    made: dict[Strategy, str] = {}
    for name, strategy_class in STRATEGIES.items():
        for options in GATES if name == "gated" else option_choices(strategy_class):
            made[build_strategy(name, **options)] = f"{name} {list(options.values())}"
    for name in ("multiplex", "gumbel_softmax"):
        made[build_strategy(name, k=6, adaptive=True)] = f"{name} adaptive"
    for name, preset in PRESETS.items():
        strategy = build_strategy(preset.strategy, **preset.strategy_kwargs)
        made.setdefault(strategy, f"preset {name}")
    return {name: strategy for strategy, name in made.items()}


def option_choices(strategy_class: Any) -> Iterator[dict[str, Any]]:
    """Options worth trying: the number of candidates, and what a `Literal` annotation lists."""
    hints, parameters = get_type_hints(strategy_class), inspect.signature(strategy_class).parameters
    choices = {name: get_args(hints[name]) for name in parameters if get_origin(hints[name]) is Literal}
    if "k" in parameters:
        choices["k"] = (1, 2, 3) if parameters["k"].default is not None else (None, 1, 2, 3)
    return (dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values()))


def reward(mixture: Mixture) -> Tensor:
    """Something that depends, not linearly, on the blended embedding and on the visible token."""
    embeddings = (mixture.log_weights.exp().unsqueeze(-1) * EMBEDDINGS[mixture.candidate_ids]).sum(dim=-2)
    return (2 * embeddings[:, 0]).sin() + embeddings[:, 1].square() + EMBEDDINGS[mixture.visible_ids, 0]


def scores(strategy: Strategy, draws: int) -> tuple[Mixture, Tensor]:
    """Draws, and the gradient of each one's log-probability in the six logits."""
    logits = LOGITS.expand(draws, -1).clone().requires_grad_()
    logps = logits.log_softmax(dim=-1)
    mixture = strategy.draw(logps.detach())
    log_probs = strategy.log_prob(logps.gather(-1, mixture.candidate_ids), mixture)
    (gradients,) = torch.autograd.grad(log_probs.sum(), logits)
    return mixture, gradients


def score_mean(strategy: Strategy) -> float:
    """Largest mean of the score in any logit, in standard errors; a score's mean is 0."""
    torch.manual_seed(0)
    _, gradients = scores(strategy, DRAWS)
    errors = gradients.std(dim=0) / DRAWS**0.5
    # A lone candidate leaves rounding, of which no standard error is an error.
    return (gradients.mean(dim=0).abs() / (errors + 1e-6)).max().item()


def gradient_bias(strategy: Strategy) -> float:
    """The policy gradient of the mean reward against finite differences, in standard errors."""
    torch.manual_seed(0)
    step, directions = 0.1, torch.nn.functional.normalize(torch.randn(2, len(LOGITS)), dim=-1)
    mixture, gradients = scores(strategy, EVALUATIONS)
    # Without a baseline, which would hide an error that is the same for all draws.
    estimates = reward(mixture).unsqueeze(-1) * (gradients @ directions.T)
    worst = 0.0
    for direction, estimate in zip(directions, estimates.T, strict=True):
        above, below = (rewards_at(strategy, LOGITS + sign * step * direction) for sign in (1, -1))
        slopes = (above - below) / (2 * step)
        error = ((slopes.var() + estimate.var()) / EVALUATIONS).sqrt()
        worst = max(worst, ((slopes.mean() - estimate.mean()).abs() / (error + 1e-4)).item())
    return worst


def rewards_at(strategy: Strategy, logits: Tensor) -> Tensor:
    """Rewards of draws at other logits, with the same random numbers."""
    torch.manual_seed(1)
    return reward(strategy.draw(logits.log_softmax(dim=-1).expand(EVALUATIONS, -1)))


def total_mass(strategy: Strategy) -> float:
    """What the density of one or two candidates sums and integrates to; 1 for a density.

    Draws show where it lives: few distinct weights of a set of candidates are atoms, many are an interval.
    """
    torch.manual_seed(0)
    logps = LOGITS.log_softmax(dim=-1)
    mixture = strategy.draw(logps.expand(DRAWS, -1))
    mass = 0.0
    for pattern in patterns(mixture).unique().tolist():
        same = (patterns(mixture) == pattern).nonzero().squeeze(-1)
        odds = mixture.log_weights[same, 0] - mixture.log_weights[same, -1]
        distinct = odds.unique().numel()
        if distinct <= 64:
            _, inverse = odds.unique(return_inverse=True)
            firsts = [same[(inverse == atom).nonzero()[0, 0]] for atom in range(distinct)]
            mass += log_prob(strategy, logps, mixture, torch.stack(firsts)).exp().sum().item()
            continue
        grid = torch.linspace(odds.min().item(), odds.max().item(), 20_001)
        log_weights = torch.stack(
            [torch.nn.functional.logsigmoid(grid), torch.nn.functional.logsigmoid(-grid)], dim=-1
        )
        rows = same[:1].expand(len(grid))
        record = Mixture(mixture.candidate_ids[rows], log_weights, mixture.visible_ids[rows])
        # The density is one in the first weight, whose derivative in the log-odds is the product of both.
        densities = log_prob(strategy, logps, record, torch.arange(len(grid))) + log_weights.sum(dim=-1)
        mass += torch.trapezoid(densities.exp(), grid).item()
    return mass


def atom_frequencies(strategy: Strategy) -> float:
    """Frequencies of the commonest records, for any `k`, against their probabilities, in standard errors."""
    torch.manual_seed(0)
    logps = LOGITS.log_softmax(dim=-1)
    mixture = strategy.draw(logps.expand(DRAWS, -1))
    # Slots that are not in use hold any token.
    ids = mixture.candidate_ids.masked_fill(~in_support(mixture), -1)
    keys = torch.cat([ids.float(), mixture.log_weights], dim=-1)
    _, inverse, counts = keys.unique(dim=0, return_inverse=True, return_counts=True)
    often = (counts > 500).nonzero().squeeze(-1).tolist()
    if not often:
        return 0.0
    firsts = torch.stack([(inverse == atom).nonzero()[0, 0] for atom in often])
    expected = log_prob(strategy, logps, mixture, firsts).exp()
    errors = (expected * (1 - expected).clamp_min(0) / DRAWS).sqrt() + 1e-6
    return ((counts[often] / DRAWS - expected).abs() / errors).max().item()


def marginal_excess(strategy: Strategy) -> float:
    """Chi-square of the visible tokens against p on the tokens that can be drawn, in standard deviations."""
    torch.manual_seed(0)
    mixture = strategy.draw(LOGITS.log_softmax(dim=-1).expand(DRAWS, -1))
    drawable = mixture.candidate_ids[in_support(mixture)].unique()
    expected = LOGITS[drawable].softmax(dim=-1) * DRAWS
    counts = torch.bincount(mixture.visible_ids, minlength=len(LOGITS))[drawable]
    freedom = len(drawable) - 1
    chi_square = ((counts - expected).square() / expected).sum().item()
    return (chi_square - freedom) / max(2 * freedom, 1) ** 0.5


def visible_gradients(strategy: Strategy) -> tuple[Tensor, Tensor]:
    """Policy gradients of a reward on two visible tokens, under `visible` and of the exact mean, both by enumeration.

    The second token's logits depend on the first token alone. Each token is drawn from p on the tokens that can be
    drawn, which `marginal_excess` checks; the baseline is the mean reward.
    """
    torch.manual_seed(0)
    vocabulary = len(LOGITS)
    # A row of logits for the first token, and one for the second after each first.
    logits = torch.cat([LOGITS.unsqueeze(0), torch.randn(vocabulary, vocabulary)]).requires_grad_()
    # The first token matters most, so that after it the mean reward is far from the baseline.
    rewards = torch.randn(vocabulary, vocabulary) + 3 * torch.randn(vocabulary, 1)
    laws, scores = (torch.stack(rows) for rows in zip(*(law_and_scores(strategy, row) for row in logits), strict=True))
    joint = laws[0].unsqueeze(-1) * laws[1:]
    mean = (joint * rewards).sum()
    loss = (joint * (rewards - mean)).detach() * (scores[0].unsqueeze(-1) + scores[1:])
    (estimate,) = torch.autograd.grad(loss.sum(), logits, retain_graph=True)
    (exact,) = torch.autograd.grad(mean, logits)
    return estimate, exact


def law_and_scores(strategy: Strategy, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Probability of each token to be visible, and the `visible` score of a record that shows it; 0 if none can."""
    logps = logits.log_softmax(dim=-1)
    mixture = strategy.draw(logps.detach().expand(2000, -1))
    drawable = torch.zeros(len(logits)).index_fill(0, mixture.candidate_ids[in_support(mixture)].unique(), 1.0)
    shown = mixture.visible_ids.unique()
    rows = torch.stack([(mixture.visible_ids == token).nonzero()[0, 0] for token in shown])
    record = Mixture(*(field[rows] for field in mixture))
    candidate_logps = logps.expand(len(rows), -1).gather(-1, record.candidate_ids)
    scores = surrogate(strategy, candidate_logps, record, log_prob_type="visible")
    return (logits + drawable.log()).softmax(dim=-1), torch.zeros(len(logits)).index_put((shown,), scores)


def patterns(mixture: Mixture) -> Tensor:
    """One number for each set of candidates in order and of which of them have weight."""
    ids = (mixture.candidate_ids * 8 ** torch.arange(mixture.candidate_ids.shape[-1])).sum(dim=-1)
    states = torch.where(in_support(mixture), 1 + (mixture.log_weights.exp() > 0).int(), 0)
    return ids * 100 + (states * 3 ** torch.arange(states.shape[-1])).sum(dim=-1)


def log_prob(strategy: Strategy, logps: Tensor, mixture: Mixture, rows: Tensor) -> Tensor:
    """Log-probabilities of some rows of a record."""
    record = Mixture(*(field[rows] for field in mixture))
    return strategy.log_prob(logps.expand(len(rows), -1).gather(-1, record.candidate_ids), record)
