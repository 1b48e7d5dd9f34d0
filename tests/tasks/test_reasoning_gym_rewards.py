import pickle
from collections import defaultdict
from pathlib import Path

import pytest

from benchmarks.reasoning_gym import HOSTILE, MARK, gold_scores, hostile_scores
from mot_trl.rewards.format import TAGS
from mot_trl.sandbox import Result
from mot_trl.tasks import reasoning_gym
from mot_trl.tasks.reasoning_gym import (
    ReasoningGymReward,
    ThinkingLength,
    accuracy,
    load,
    score,
    thinking_length,
)
from mot_trl.tasks.reasoning_gym.answer_grammar import EXECUTED
from mot_trl.tasks.reasoning_gym.rewards import _failure, _values
from mot_trl.tasks.reasoning_gym.suites import TAMED

NO_GOLD = {"boxnet", "graph_color", "propositional_logic", "rubiks_cube", "rush_hour"}
TRAPS = ["acre", "boxnet", "coin_flip", "complex_arithmetic", "game_of_life_halting", "rearc"]


def make_rows(task, count):
    items = reasoning_gym.GENERATOR.items(task, TAMED.get(task, {}), seed=42, indices=range(count))
    return [reasoning_gym.row(task, item) for item in items]


def answered(rows, answers, reward=score, **columns):
    completions = [f"<think>\nhm\n</think>\n<answer>{answer}</answer>" for answer in answers]
    return reward(completions, task=[row["task"] for row in rows], entry=[row["entry"] for row in rows], **columns)


def check_junk(tasks):
    Path(MARK).unlink(missing_ok=True)
    for task in tasks:
        for name, earned in hostile_scores(task, make_rows(task, 1)[0]).items():
            assert earned is not None, (task, name)
            assert 0.0 <= earned <= 0.05, (task, name)
    assert not Path(MARK).exists()


def check_golds(tasks, count):
    for task in tasks:
        golds = gold_scores(make_rows(task, count))

        assert golds == [1.0] * (0 if task in NO_GOLD else count), task


@pytest.mark.slow
def test_junk_earns_nothing_where_scorers_run_answers_or_are_gullible():
    assert len(HOSTILE) >= 30
    check_junk(["countdown", "n_queens", "simple_integration", "string_insertion", *TRAPS])


def test_golds_earn_full_marks_from_the_scorers_that_run_answers():
    check_golds([*sorted(EXECUTED), *TRAPS], 2)


@pytest.mark.slow
def test_in_every_dataset_junk_earns_nothing_and_golds_full_marks():
    names = reasoning_gym.names()

    assert len(names) == 105
    check_golds(names, 2)
    check_junk(names)


def test_an_answer_is_stripped_and_read_after_the_thinking():
    row = load("gcd", size=1)[0]
    gold = row["answer"]
    completions = [
        f"<think>hm</think> <answer>\n {gold} \n</answer>",
        [{"role": "assistant", "content": f"<think>hm</think> \\boxed{{{gold}}}"}],
        f"<think><answer>{gold}</answer>",
        f"<think><answer>{gold}</answer></think>",
        gold,
        "",
    ]

    earned = score(completions, task=["gcd"] * 6, entry=[row["entry"]] * 6, answer=[gold] * 6, trainer_state=None)

    assert earned == [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]


def test_an_unclosed_thinking_that_the_template_opened_has_no_answer():
    row = load("gcd", size=1)[0]
    reward = ReasoningGymReward(opened=True)

    earned = reward(
        [f"<answer>{row['answer']}</answer>", f"</think><answer>{row['answer']}</answer>"],
        task=["gcd"] * 2,
        entry=[row["entry"]] * 2,
    )

    assert earned == [0.0, 1.0]


def test_part_of_a_solution_is_part_of_the_reward_and_no_accuracy():
    row = next(row for row in make_rows("mini_sudoku", 1))
    first, *others = row["answer"].split("\n")
    broken = "\n".join([" ".join(reversed(first.split())), *others])

    (partial,) = answered([row], [broken])

    assert 0.05 < partial < 1.0
    assert answered([row], [broken], accuracy) == [0.0]
    assert answered([row], [row["answer"]], accuracy) == [1.0]


def test_what_only_holds_the_gold_earns_nothing():
    rows = make_rows("syllogism", 3) + make_rows("spell_backward", 3) + make_rows("coin_flip", 3)

    assert answered(rows, [f"maybe {row['answer']} or not" for row in rows]) == [0.0] * 9


def test_the_settings_of_an_item_reach_its_scorer():
    # The tolerance is one in the last decimal, of which there are three by default.
    loose = load("decimal_arithmetic", size=1, max_num_decimal_places=1, min_num_decimal_places=1)[0]
    near = str(float(loose["answer"]) + 0.05)

    assert answered([loose], [near]) == [1.0]


@pytest.mark.slow
def test_a_hang_costs_its_neighbors_nothing():
    rows = make_rows("rubiks_cube", 1) + make_rows("countdown", 2)
    hang = "R9000000"  # as many turns of one side
    reward = ReasoningGymReward(timeout=0.5, workers=1)

    earned = answered(rows, [hang, f"({rows[1]['answer']})", f"({rows[2]['answer']})"], reward)

    assert earned == [0.0, 1.0, 1.0]


def test_the_scorers_that_any_text_or_zero_pleases_are_replaced():
    coins = make_rows("coin_flip", 4)
    halting = make_rows("game_of_life_halting", 4)
    opposite = {"True": "False", "False": "True"}

    assert answered(coins, ["0"] * 4) == [0.0] * 4
    assert answered(coins, [f"{row['answer']}0" for row in coins]) == [1.0] * 4
    assert answered(halting, [opposite[row["answer"]] for row in halting]) == [0.0] * 4
    assert answered(halting, [row["answer"].lower() for row in halting]) == [1.0] * 4


def test_another_form_of_an_integral_is_right_and_another_function_wrong():
    rows = make_rows("simple_integration", 6)
    golds = [row["answer"] for row in rows]

    assert answered(rows, [f"7 + ({gold})/2 + ({gold})*0.5" for gold in golds]) == [1.0] * 6
    assert answered(rows, [f"({gold})*1.001" for gold in golds]) == [0.0] * 6
    assert answered(rows, [f"{gold} + y*x*X" for gold in golds]) == [0.0] * 6


def test_no_letter_sequence_is_picked_out_of_prose():
    row = make_rows("quantum_lock", 1)[0]

    assert answered([row] * 2, [f"a {row['answer']}", row["answer"].replace(" \u2192 ", ", ").lower()]) == [0.0, 1.0]


def test_values_from_the_process_that_held_the_answer_are_not_believed():
    def forged(value):
        return _values(Result("passed", value=value), 3)

    assert forged([float("nan"), 2, -1]) == [0.0, 1.0, 0.0]
    assert forged([1.0, 1.0]) is None
    assert forged([1.0, 1.0, "1"]) is None
    assert forged("111") is None
    assert _values(Result("crashed", value=[1.0, 1.0, 1.0]), 3) is None


def test_only_a_failure_of_the_sandbox_is_no_judgement():
    failures = {
        status: _failure(Result(status)) for status in ("crashed", "timeout", "overflow", "error", "unsupported")
    }

    assert failures == {"crashed": 0.0, "timeout": 0.0, "overflow": 0.0, "error": None, "unsupported": None}


def test_accuracy_and_level_are_logged_for_each_task():
    rows = make_rows("gcd", 2) + make_rows("lcm", 1)
    logged = defaultdict(list)

    answered(
        rows,
        [rows[0]["answer"], "wrong", rows[2]["answer"]],
        level=[2, 2, -1],
        log_metric=lambda name, value: logged[name].append(value),
    )

    assert logged == {"gcd_accuracy": [1.0, 0.0], "lcm_accuracy": [1.0], "gcd_level": [2.0, 2.0]}


def test_rewards_pickle_and_have_names():
    for reward, name in [(score, "score"), (accuracy, "accuracy"), (thinking_length, "thinking_length")]:
        assert pickle.loads(pickle.dumps(reward)) == reward
        assert reward.__name__ == name


def test_thinking_is_rewarded_within_its_window():
    reward = ThinkingLength(10, 20)
    lengths = [0, 5, 10, 20, 30, 40, 100]

    earned = reward([f"<think>{'a' * length}</think><answer>1</answer>" for length in lengths])

    assert earned == [0.0, 0.5, 1.0, 1.0, 0.5, 0.0, 0.0]
    assert reward(["<think>" + "a" * 15, "a" * 15 + "</think>"]) == [0.0, 1.0]


@pytest.mark.parametrize(("shortest", "longest"), [(0, 5), (9, 5)])
def test_a_window_must_be_one(shortest, longest):
    with pytest.raises(ValueError, match="shortest="):
        ThinkingLength(shortest, longest)


def test_the_form_never_outweighs_a_right_answer():
    texts = ["", "<think>a</think><answer>1</answer>", "".join(TAGS), "<think>" * 9, "x" * 10_000, "</think>" * 9]
    earned = [reward(texts) for reward in reasoning_gym.SHAPING]

    assert all(0.0 <= value <= 1.0 for values in earned for value in values)
    assert len(reasoning_gym.SHAPING) == len(reasoning_gym.SHAPING_WEIGHTS)
    # Of a right answer without any form, and a wrong one with all of it, the first earns more.
    assert sum(reasoning_gym.SHAPING_WEIGHTS) <= 0.2
