import logging
from decimal import Decimal
from fractions import Fraction

import numpy
import pytest

from mot_trl.rewards.math import MathReward
from mot_trl.rewards.math.gold import read_golds


@pytest.mark.parametrize(
    ("gold", "right", "wrong"),
    [
        (27, "27", "28"),
        (27.0, "27", "27.5"),
        (0.1 + 0.2, "0.3", "0.30000000000000004"),
        (1 / 3, r"\frac{1}{3}", "0.33"),
        (2.5, "5/2", "2"),
        (1e-05, "0.00001", "0.0001"),
        (-0.0, "0", "1"),
        (10**30, "1" + "0" * 30, "1" + "0" * 29),
        (Decimal("27.0"), "27", "270"),
        (Decimal("1E+3"), "1000", "13"),
        (Fraction(3, 4), "0.75", "3"),
        (Fraction(4, 2), "2", "4"),
        (numpy.int64(7), "7", "8"),
        (numpy.float64(7.5), "7.5", "7"),
        (numpy.float32(0.1), "0.1", "0.10000000149"),
        (numpy.array([7, 8]), "8", "9"),
        (numpy.str_("x+1"), "1+x", "x"),
        (["1/2", 0.75], r"\frac{3}{4}", "1/4"),
        (("5", None), "5", "None"),
        ([["5"], []], "5", "[6]"),
        ("9 (apples)", "9", "8"),
        ("so 2 + 2 = 4\n#### 4", "4", "2"),
        (r"We add, so the answer is \boxed{4}, as needed.", "4", "5"),
        (r"$\boxed{\frac{1}{2}}$ and so on.", "0.5", "1"),
        ("Two and two are added.\n#### 1,080\nDone", "1080", "1"),
        ("<answer>4</answer>", "4", "5"),
        ("The answer is 4.", "4", "5"),
        ("We have two apples in one basket, and two more in the other one, so that there must be four of them in all"
         " baskets. The final answer is: $4$.", "4", "2"),
        ("007", "7", "70"),
    ],
)  # fmt: skip
def test_golds_come_as_any_number_text_or_list_of_alternatives(gold, right, wrong) -> None:
    completions = [rf"\boxed{{{right}}}", rf"\boxed{{{wrong}}}", "none"]

    assert MathReward(symbolic=False)(completions, answer=[gold] * 3) == [1.0, 0.0, 0.0]


UNREADABLE = [
    None, "", "  ", float("nan"), float("inf"), Decimal("NaN"), True, numpy.bool_(False), [], [None], {"value": 5},
    "proof", "notfound", "nan", r"it is \boxed{4", r"\frac{1}{2", "?", "(" * 40 + "7" + ")" * 40,
    b"5",
    "Proof. We show by induction on the number of vertices that every tree has one edge less than it has vertices,"
    " which is clear for a tree that consists of a single vertex and no edge at all.",
]  # fmt: skip


@pytest.mark.parametrize("gold", UNREADABLE, ids=lambda gold: repr(gold)[:20])
def test_a_gold_that_cannot_be_read_pays_nobody_and_punishes_nobody(gold) -> None:
    completions = [r"\boxed{5}", "no answer", r"\boxed{proof}", r"\boxed{None}", r"\boxed{nan}", r"\boxed{True}"]

    assert MathReward(symbolic=False)(completions, answer=[gold] * 6) == [None] * 6


def test_an_unreadable_gold_is_reported_once_with_its_text_and_row(caplog) -> None:
    reward = MathReward(symbolic=False)

    with caplog.at_level(logging.WARNING, logger="mot_trl"):
        for _ in range(2):
            reward([r"\boxed{5}"] * 3, answer=["5", r"\frac{17}{", r"\frac{17}{"], question=["a", "What is it?", "c"])

    (record,) = caplog.records
    assert "row 1" in record.message
    assert r"\\frac{17}{" in record.message
    assert "What is it?" in record.message


@pytest.mark.parametrize(("golds", "share"), [(["5", "6"], 0.0), ([5, None, "proof", "6"], 0.5)])
def test_the_share_of_unreadable_golds_is_logged(golds, share) -> None:
    logged: dict[str, float] = {}

    MathReward(symbolic=False)([r"\boxed{5}"] * len(golds), answer=golds, log_metric=logged.__setitem__)

    assert logged == {"correct_answer/unreadable_golds": share}


def test_a_list_for_the_reward_is_of_alternatives_and_its_items_are_texts() -> None:
    assert read_golds(["1", 2.0, [Fraction(1, 3)], None, "x"]) == ["1", "2", "1/3", "x"]
