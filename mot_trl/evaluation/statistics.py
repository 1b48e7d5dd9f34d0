"""Statistics of an evaluation: pass@k, majority vote, bootstrap intervals, and an exact paired test."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from fractions import Fraction
from math import comb, nan
from statistics import fmean
from typing import NamedTuple

import torch

# 2,000 resamples, in parts, since all at once would take gigabytes for a large test set.
PARTS, RESAMPLES_PER_PART = 20, 100


class Estimate(NamedTuple):
    """A mean over items with the ends of its 95 % bootstrap interval; all NaN where there are no items."""

    mean: float
    low: float
    high: float


class Comparison(NamedTuple):
    """The difference between two arms, paired by item.

    Attributes:
        difference: Mean over items of the second arm's share of correct samples minus the first's, with its interval.
        p_value: Two-sided p-value of the hypothesis that the arms are interchangeable on every item.
    """

    difference: Estimate
    p_value: float
    items: int


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """Unbiased probability that one of `k` samples is correct, `1 - C(n - c, k) / C(n, k)` (Codex, arXiv 2107.03374).

    Raises:
        ValueError: There are fewer than `k` samples.
    """
    if not 1 <= k <= samples:
        raise ValueError(f"pass@{k} needs at least {k} samples of an item (and k at least 1), not {samples}.")
    return 1 - comb(samples - correct, k) / comb(samples, k)


def majority_vote(answers: Sequence[str | None], correct: Sequence[bool]) -> float:
    """Whether the most common answer is correct (self-consistency, arXiv 2203.11171); ties share the vote equally.

    Samples without an answer do not vote; if none has one, the vote is wrong. Answers are equal if they are the same
    number (`1,080`, `$1080.0`) or the same text up to case and whitespace.
    """
    votes: defaultdict[str, list[bool]] = defaultdict(list)
    for answer, right in zip(answers, correct, strict=True):
        if answer is not None:
            votes[vote_key(answer)].append(right)
    most = max(map(len, votes.values()), default=0)
    # Equal answers may still be graded differently, for a reward can look at more than the answer.
    return fmean([right for voters in votes.values() if len(voters) == most for right in voters] or [0])


def vote_key(answer: str) -> str:
    """Normalize an answer, so that equal answers have equal keys."""
    spaced = " ".join(answer.casefold().split())
    text = answer.strip().lstrip("$").rstrip(".").replace(",", "").strip()
    try:
        # No exponents: the model chose the digits, and `Fraction("1e999999999")` would fill the memory.
        return str(Fraction(text)) if text.lstrip("+-").replace(".", "", 1).isdecimal() else spaced
    except ValueError:
        return spaced  # such as "+-5", whose characters are those of a number


def estimate(values: Sequence[float], *, seed: int = 0) -> Estimate:
    """The mean of one value per item, with a percentile bootstrap interval over items (95 %, 2,000 resamples)."""
    if not values:
        return Estimate(nan, nan, nan)
    # A generator of its own makes intervals reproducible, and leaves the global random state to the caller.
    sample = torch.tensor(values, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    draws = (torch.randint(len(values), (RESAMPLES_PER_PART, len(values)), generator=generator) for _ in range(PARTS))
    means = torch.cat([sample[indices].mean(dim=-1) for indices in draws])
    low, high = means.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Estimate(sample.mean().item(), low, high)


def compare(first: Sequence[int], second: Sequence[int], *, samples: int, seed: int = 0) -> Comparison:
    """Compare two arms by each item's number of correct samples, out of `samples` in both.

    The p-value is that of the exact sign-flip test of the items' differences. With one sample per item this is
    McNemar's exact test.
    """
    differences = [after - before for before, after in zip(first, second, strict=True)]
    shares = [difference / samples for difference in differences]
    return Comparison(estimate(shares, seed=seed), sign_flip_p_value(differences), len(differences))


def sign_flip_p_value(differences: Sequence[int]) -> float:
    """Exact two-sided p-value of the sum, under the hypothesis that each difference is as likely with either sign."""
    # Convolve one difference after another: how many of the 2^n sign patterns lead to each sum. The sums are few,
    # since differences are small integers, and the counts are exact Python integers.
    ways = Counter({0: 1})
    for difference in filter(None, differences):
        flipped: Counter[int] = Counter()
        for total, count in ways.items():
            flipped[total + difference] += count
            flipped[total - difference] += count
        ways = flipped
    observed = abs(sum(differences))
    extreme = sum(count for total, count in ways.items() if abs(total) >= observed)
    return float(Fraction(extreme, ways.total()))
