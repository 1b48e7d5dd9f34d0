"""A reward that cannot be called as TRL calls it is refused before anything is generated."""

from functools import partial
from typing import Any

import pytest

from mot_trl.rewards.signature import check_reward
from mot_trl.tasks import gsm8k, mbpp, shape_counting


def without_more(completions: list, answer: list) -> list[float]:
    return []


def needs_gold(completions: list, gold: list, *, scale: float = 1.0, **_: Any) -> list[float]:
    return []


def names_all(prompts, completions, completion_ids, answer, trainer_state, log_extra, log_metric):
    return []


class Judge:
    def __call__(self, completions: list, answer: list) -> list[float]:
        return []


@pytest.mark.parametrize("reward", [without_more, Judge(), partial(without_more, answer=["1"])])
def test_a_reward_takes_what_it_does_not_read(reward: Any) -> None:
    with pytest.raises(ValueError, match=r"must take `\*\*kwargs`, .*completion_ids.*\*\*kwargs\)`"):
        check_reward(reward, ["prompt", "answer"])
    with pytest.raises(ValueError, match=r"must take `\*\*kwargs`"):
        check_reward(reward, None)


def test_a_reward_finds_the_columns_that_it_reads() -> None:
    with pytest.raises(ValueError, match=r"`needs_gold` needs the columns \['gold'\], and the rows have \["):
        check_reward(needs_gold, ["prompt", "answer"])

    check_reward(needs_gold, ["prompt", "gold"])
    check_reward(needs_gold, None)


@pytest.mark.parametrize("reward", [names_all, gsm8k.correct_answer, shape_counting.close_answer, dict])
def test_what_can_be_called_is_left_alone(reward: Any) -> None:
    check_reward(reward, ["prompt", "answer"])
    check_reward(mbpp.compiles, ["prompt", "tests", "entry_points", "prelude", "setup"])
