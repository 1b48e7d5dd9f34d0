"""Figures of an evaluation: pass@k, the majority's vote, bootstrap intervals, and the paired test of two arms."""

from collections.abc import Sequence
from fractions import Fraction
from math import comb
from typing import NamedTuple

import torch

RESAMPLES, RESAMPLES_AT_ONCE = 2_000, 100
LEVEL = 0.95


class Estimate(NamedTuple):
    """A mean over items, with the ends of its bootstrap interval; the mean of nothing is NaN.

    Attributes:
        mean: The mean.
        low: Lower end of the 95 % interval.
        high: Upper end.
    """

    mean: float
    low: float
    high: float


class Comparison(NamedTuple):
    """What changes from one arm to another, on the items that both have.

    Attributes:
        difference: Mean over items of the second arm's share of correct samples minus the first's, with its interval.
        p_value: Two-sided: how often a difference at least as large would come up if the arms were interchangeable.
        items: Number of items compared.
    """

    difference: Estimate
    p_value: float
    items: int


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """Unbiased estimate that one of `k` samples is correct, `1 - C(n - c, k) / C(n, k)` (Codex, arXiv 2107.03374).

    Raises:
        ValueError: There are fewer than `k` samples.
    """
    if not 1 <= k <= samples:
        raise ValueError(f"pass@{k} needs at least {k} samples of an item (and k at least 1), not {samples}.")
    return 1 - comb(samples - correct, k) / comb(samples, k)


def majority_vote(answers: Sequence[str | None], correct: Sequence[bool]) -> float:
    """Whether the commonest answer is correct (self-consistency, arXiv 2203.11171); ties share the vote equally.

    Samples without an answer do not vote; if none has one, the vote is wrong. Answers are the same where they are the
    same number (`1,080`, `$1080.0`) or the same text up to case and spaces.
    """
    votes: dict[str, list[bool]] = {}
    for answer, right in zip(answers, correct, strict=True):
        if answer is not None:
            votes.setdefault(vote_key(answer), []).append(right)
    if not votes:
        return 0.0
    most = max(map(len, votes.values()))
    winners = [sum(voters) / most for voters in votes.values() if len(voters) == most]
    return sum(winners) / len(winners)


def vote_key(answer: str) -> str:
    """What two answers share that count as one in a vote."""
    text = answer.strip().lstrip("$").rstrip(".").replace(",", "").strip()
    try:
        # Neither exponents nor fractions: the digits are the model's, and 1e999999999 is a number, too.
        return str(Fraction(text)) if text.lstrip("+-").replace(".", "", 1).isdecimal() else _spaced(answer)
    except ValueError:
        return _spaced(answer)


def estimate(values: Sequence[float], *, seed: int = 0) -> Estimate:
    """The mean of one value an item, with a percentile bootstrap interval over the items (95 %, 2,000 resamples)."""
    if not values:
        return Estimate(float("nan"), float("nan"), float("nan"))
    sample = torch.tensor(values, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    means = torch.cat(
        [
            sample[torch.randint(len(values), (RESAMPLES_AT_ONCE, len(values)), generator=generator)].mean(dim=-1)
            for _ in range(RESAMPLES // RESAMPLES_AT_ONCE)
        ]
    )
    tail = (1 - LEVEL) / 2
    low, high = means.quantile(torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return Estimate(sample.mean().item(), low, high)


def compare(first: Sequence[int], second: Sequence[int], *, samples: int, seed: int = 0) -> Comparison:
    """Compare two arms by each item's number of correct samples, out of `samples` in both.

    The p-value is that of the exact sign-flip test of the items' differences: with one sample an item it is McNemar's
    exact test.
    """
    differences = [after - before for before, after in zip(first, second, strict=True)]
    shares = [difference / samples for difference in differences]
    return Comparison(estimate(shares, seed=seed), sign_flip_p_value(differences), len(differences))


def sign_flip_p_value(differences: Sequence[int]) -> float:
    """Two-sided p-value of the sum of differences when each is as likely to have the other sign; exact."""
    ways = {0: 1}
    for difference in differences:
        if difference == 0:
            continue
        flipped: dict[int, int] = {}
        for total, count in ways.items():
            for change in (difference, -difference):
                flipped[total + change] = flipped.get(total + change, 0) + count
        ways = flipped
    observed = abs(sum(differences))
    extreme = sum(count for total, count in ways.items() if abs(total) >= observed)
    return float(Fraction(extreme, sum(ways.values())))


def _spaced(answer: str) -> str:
    return " ".join(answer.casefold().split())
