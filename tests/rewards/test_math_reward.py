import logging
import multiprocessing
import pickle

import pytest

from mot_trl.rewards.math.equivalence import MathReward, asks_for_percent, is_equivalent


def test_rewards_follow_trls_convention():
    completions = [
        [{"role": "assistant", "content": "<answer>18 dollars</answer>"}],
        [{"role": "assistant", "content": r"<think>\boxed{18}</think>"}],
        r"\boxed{19}",
    ]

    rewards = MathReward(symbolic=False)(
        prompts=["q"] * 3, completions=completions, completion_ids=[[1]] * 3, answer=["18"] * 3, trainer_state=None
    )

    assert rewards == [1.0, 0.0, 0.0]


def test_a_gold_that_cannot_be_read_gives_none_and_one_warning(caplog):
    reward = MathReward(symbolic=False)

    with caplog.at_level(logging.WARNING, logger="mot_trl"):
        rewards = [reward(completions=[r"\boxed{5}"], answer=["(" * 40 + "7" + ")" * 40]) for _ in range(2)]

    assert rewards == [[None], [None]]
    assert len(caplog.records) == 1
    assert is_equivalent(" ", "5") is None


def test_other_columns_can_hold_the_gold():
    reward = MathReward("solution", symbolic=False)

    assert reward(completions=["#### 5"], solution=["5"]) == [1.0]
    with pytest.raises(KeyError, match=r"`gold_column` is 'solution'; the rows have \['answer'\]"):
        reward(completions=["#### 5"], answer=["5"])


@pytest.mark.parametrize(
    ("question", "answer", "reward"),
    [
        ("What percentage of flowers are not roses?", r"60\%", 1.0),
        ("What percentage of flowers are not roses?", "60 percent", 1.0),
        ("What percentage of flowers are not roses?", "60", 1.0),
        ("What percentage of flowers are not roses?", "6%", 0.0),
        ("If 80% of the visitors go, how many go?", r"60\%", 0.0),
    ],
)
def test_a_percent_sign_is_right_where_the_question_asks_for_it(question, answer, reward):
    completions = [f"<answer>{answer}</answer>"]

    assert MathReward(symbolic=False)(completions=completions, answer=["60"], question=[question]) == [reward]


def test_percent_in_the_premises_does_not_ask_for_it():
    assert asks_for_percent("By what percent does the square's area decrease?")
    assert asks_for_percent("How much soda is left, expressed as a percentage of a bottle?")
    assert not asks_for_percent("If she gets a 20 percent discount, how much does she pay?")


def test_thinking_opened_by_the_prompt_must_end():
    reward = MathReward(opened=True, symbolic=False)

    assert reward(completions=[r"\boxed{5}", r"so</think>\boxed{5}"], answer=["5", "5"]) == [0.0, 1.0]


def test_a_timeout_of_nothing_is_refused():
    with pytest.raises(ValueError, match="`timeout` is 0"):
        MathReward(timeout=0)


def grade(reward):
    return reward(completions=[r"\boxed{3}", r"\boxed{4}"], answer=[r"\log_2 8"] * 2)


def test_a_used_reward_pickles_into_a_spawned_process():
    pytest.importorskip("math_verify")
    reward = MathReward()
    grade(reward)

    with multiprocessing.get_context("spawn").Pool(1) as process:
        rewards = process.apply(grade, (pickle.loads(pickle.dumps(reward)),))

    assert rewards == grade(reward) == [1.0, 0.0]
    assert reward.__name__ == "correct_answer"
