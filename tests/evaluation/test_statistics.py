"""Figures against values computed by hand, and the laws they obey."""

import itertools
import math
import random

import pytest

from mot_trl.evaluation.records import Sample
from mot_trl.evaluation.report import Arm, compare_arms, report, summarize, to_json, to_tables
from mot_trl.evaluation.statistics import compare, estimate, majority_vote, pass_at_k, sign_flip_p_value


@pytest.mark.parametrize(
    ("samples", "correct", "k", "by_hand"),
    [
        (5, 2, 1, 0.4),
        (5, 2, 2, 0.7),  # 1 - C(3,2)/C(5,2) = 1 - 3/10
        (5, 2, 3, 0.9),  # 1 - C(3,3)/C(5,3) = 1 - 1/10
        (5, 2, 4, 1.0),
        (4, 0, 4, 0.0),
        (4, 4, 1, 1.0),
        (10, 1, 5, 0.5),  # 1 - C(9,5)/C(10,5) = 1 - 126/252
    ],
)
def test_pass_at_k_is_what_it_is_by_hand(samples: int, correct: int, k: int, by_hand: float) -> None:
    assert pass_at_k(samples, correct, k) == pytest.approx(by_hand, abs=1e-12)


@pytest.mark.parametrize(("samples", "correct", "k"), [(5, 2, 2), (6, 1, 3), (6, 5, 4)])
def test_pass_at_k_is_the_share_of_all_subsets_with_a_hit(samples: int, correct: int, k: int) -> None:
    outcomes = [True] * correct + [False] * (samples - correct)
    subsets = list(itertools.combinations(outcomes, k))

    assert pass_at_k(samples, correct, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))


@pytest.mark.parametrize("k", [0, 4])
def test_pass_at_k_needs_k_samples(k: int) -> None:
    with pytest.raises(ValueError, match="samples of an item"):
        pass_at_k(3, 1, k)


@pytest.mark.parametrize(
    ("answers", "correct", "by_hand"),
    [
        (["18", "18", "20"], [True, True, False], 1.0),
        (["18", "20", "20"], [True, False, False], 0.0),
        (["18", "20"], [True, False], 0.5),
        (["18", "20", "7"], [True, False, False], 1 / 3),
        ([None, None, "18"], [False, False, True], 1.0),
        ([None, None], [False, False], 0.0),
        (["1,080", "$1080.00", "1080", "9", "9"], [True, True, True, False, False], 1.0),
        (["Paris", " paris ", "Rome"], [True, True, False], 1.0),
        (["1e999999999", "1e999999999", "3"], [False, False, True], 0.0),
        (["²", "3", "3"], [False, True, True], 1.0),
        (["-5", "5", "-5"], [False, True, False], 0.0),
    ],
)
def test_the_majority_votes_as_by_hand(answers: list, correct: list[bool], by_hand: float) -> None:
    assert majority_vote(answers, correct) == pytest.approx(by_hand)


def test_an_interval_holds_the_truth_as_often_as_it_says() -> None:
    generator = random.Random(0)

    hits = 0
    for _ in range(200):
        found = estimate([float(generator.random() < 0.3) for _ in range(60)])
        hits += found.low <= 0.3 <= found.high

    # 95 % nominal; the percentile bootstrap of 60 items is a little short of it.
    assert 0.89 <= hits / 200 <= 0.99


def test_the_interval_of_a_mean_is_about_two_standard_errors_wide() -> None:
    values = [1.0] * 300 + [0.0] * 700

    found = estimate(values)

    error = math.sqrt(0.3 * 0.7 / 1000)
    assert found.mean == pytest.approx(0.3)
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.1)
    assert estimate(values) == found


def test_the_mean_of_nothing_is_no_number() -> None:
    assert all(map(math.isnan, estimate([])))


@pytest.mark.parametrize(("better", "worse"), [(5, 0), (7, 2), (3, 3), (12, 4)])
def test_with_one_sample_the_p_value_is_mcnemars(better: int, worse: int) -> None:
    trials, extreme = better + worse, max(better, worse)
    tail = sum(math.comb(trials, hits) for hits in range(extreme, trials + 1)) / 2**trials

    found = sign_flip_p_value([1] * better + [-1] * worse + [0] * 20)

    assert found == pytest.approx(min(1.0, 2 * tail))


def test_the_p_value_counts_all_sign_flips() -> None:
    differences = [3, -1, 2, 2, 0, 1]
    sums = [
        abs(sum(sign * each for sign, each in zip(signs, differences, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]

    assert sign_flip_p_value(differences) == pytest.approx(sum(each >= 7 for each in sums) / len(sums))
    assert sign_flip_p_value([]) == 1.0


def test_an_arm_against_itself_differs_in_nothing() -> None:
    found = compare([2, 0, 4], [2, 0, 4], samples=4)

    assert (found.difference, found.p_value, found.items) == ((0.0, 0.0, 0.0), 1.0, 3)


def sample(item: int, number: int, reward: float | None, answer: str | None = None, **given: object) -> Sample:
    rest = {"tokens": 10, "thinking_tokens": 6, "closed": True, "ended": True, "text": ""}
    return Sample(item=item, sample=number, reward=reward, answer=answer, **{**rest, **given})


ARM = Arm(
    "base",
    None,
    "one_token",
    [
        sample(0, 0, 1.0, "4", thinking_tokens=2),
        sample(0, 1, 1.0, "4"),
        sample(0, 2, 0.0, "5", closed=False),
        sample(1, 0, 0.5, "1"),
        sample(1, 1, 0.0, "1"),
        sample(1, 2, 1.0, "9"),
        sample(2, 0, None),
        sample(2, 1, None),
        sample(2, 2, None, ended=False),
    ],
)


def test_an_arms_figures_are_what_they_are_by_hand() -> None:
    found = summarize(ARM)

    means = {name: value.mean for name, value in found.items() if isinstance(value, tuple)}
    assert means == pytest.approx(
        {
            "accuracy": (2 / 3 + 1 / 3) / 2,
            "pass@1": (2 / 3 + 1 / 3) / 2,
            "pass@2": (1 + 2 / 3) / 2,  # item 1: 1 - C(2,2)/C(3,2)
            "pass@3": 1.0,
            "majority": 0.5,
            "reward": (2 / 3 + 1.5 / 3) / 2,
            "thinking_tokens": (14 / 3 + 6 + 6) / 3,
            "tokens": 10.0,
            "closed": (2 / 3 + 1 + 1) / 3,
            "ended": (1 + 1 + 2 / 3) / 3,
            "answered": 2 / 3,
        }
    )
    assert (found["items"], found["samples"], found["unjudged"]) == (3, 9, 3)


def test_arms_are_compared_on_items_that_both_could_judge() -> None:
    other = ARM._replace(strategy="top_k", samples=[each._replace(reward=1.0) for each in ARM.samples])

    found = compare_arms(ARM, other)

    assert found.items == 2
    assert found.difference.mean == pytest.approx((1 / 3 + 2 / 3) / 2)
    assert found.p_value == pytest.approx(0.5)  # of the sums +-1 +-2, two of four are as far from 0 as 3


def test_arms_of_different_sizes_are_not_paired() -> None:
    other = ARM._replace(samples=[each for each in ARM.samples if each.sample < 2])

    with pytest.raises(ValueError, match="different numbers"):
        compare_arms(ARM, other)


def test_the_cross_table_has_models_in_rows_and_strategies_in_columns() -> None:
    arms = [
        ARM._replace(model=model, trained=model, strategy=strategy)
        for model in ("dirichlet", "multiplex")
        for strategy in ("one_token", "top_k")
    ]

    found = report(arms)
    tables = to_tables(found)

    assert "| model | trained with | one_token | top_k |" in tables
    assert tables.count("| multiplex | multiplex | 0.500 [") == 1
    assert "against dirichlet/one_token" in tables
    assert '"p_value": 1.0' in to_json(found)


def test_an_arm_without_a_judged_sample_still_reports() -> None:
    found = report([ARM._replace(samples=[sample(0, 0, None)])])

    assert '"accuracy": null' in to_json(found)
    assert "| - |" in to_tables(found)
