import json
import random
import re
from pathlib import Path

import pytest
from tricky_pairs import COMPLETIONS, HELD_OUT, PAIRS

from mot_trl.rewards.math.equivalence import MathReward, is_equivalent

pytest.importorskip("math_verify")

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"the datasets are not in {DATA}")


def golds(name, split):
    lines = (DATA / name / f"{split}.jsonl").read_text(encoding="utf-8").split("\n")
    return [json.loads(line)["answer"].rpartition("####")[2].strip() for line in lines if line]


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair.gold} | {pair.answer}")
def test_tricky_pairs_are_judged_as_a_teacher_would(pair):
    assert bool(is_equivalent(pair.gold, pair.answer)) == pair.same, pair.why


@pytest.mark.parametrize("pair", COMPLETIONS, ids=lambda pair: pair.answer)
def test_tricky_completions_are_judged_as_a_teacher_would(pair):
    assert MathReward()(completions=[pair.answer], answer=[pair.gold]) == [float(pair.same)], pair.why


@pytest.mark.parametrize("pair", HELD_OUT, ids=lambda pair: f"{pair.gold} | {pair.answer}")
def test_pairs_once_held_out_are_judged_rightly(pair):
    assert bool(is_equivalent(pair.gold, pair.answer)) == pair.same


def test_the_list_is_long_and_both_verdicts_are_common():
    truths = [pair.same for pair in PAIRS + COMPLETIONS]

    assert len({(pair.gold, pair.answer) for pair in PAIRS + COMPLETIONS}) >= 150
    assert 0.25 < sum(truths) / len(truths) < 0.75


@pytest.mark.parametrize("pair", [pair for pair in PAIRS if pair.same and "=" not in pair.gold + pair.answer][:80],
                         ids=lambda pair: f"{pair.gold} | {pair.answer}")  # fmt: skip
def test_surroundings_do_not_change_a_verdict(pair):
    for answer in (f"${pair.answer}$", f" {pair.answer} ", rf"\boxed{{{pair.answer}}}"):
        assert is_equivalent(pair.gold, answer) is True


@needs_data
@pytest.mark.parametrize(("name", "split"), [("gsm8k", "train"), ("gsm8k", "test"), ("math500", "test")])
def test_every_gold_equals_itself(name, split):
    for gold in golds(name, split):
        for answer in (gold, rf"\boxed{{{gold}}}", f"${gold}$.", gold.replace(r"\frac", r"\dfrac")):
            assert is_equivalent(gold, answer) is True, (gold, answer)


@needs_data
def test_random_cross_pairs_are_equal_only_by_true_coincidence():
    numbers = random.Random(0)
    answers = golds("math500", "test")
    pairs = [numbers.sample(answers, 2) for _ in range(2000)]

    equal = [(gold, answer) for gold, answer in pairs if gold != answer and is_equivalent(gold, answer)]
    same_number = [(gold, answer) for gold, answer in equal if plain(gold) == plain(answer)]

    assert equal == same_number


def plain(text):
    """The text without what may differ between two spellings of one gold of MATH-500."""
    return re.sub(r"\\[dt]frac", r"\\frac", re.sub(r"[{}$\\! ]|text|mbox|circ|\^", "", text))


@pytest.mark.parametrize(
    ("gold", "answer", "same"),
    [("a point", "a line", False), ("a point", "point", True), ("a", "a line", False), ("x point", "x line", False)],
)
def test_an_article_is_no_value_with_a_unit(gold: str, answer: str, same: bool) -> None:
    assert is_equivalent(gold, answer) is same
