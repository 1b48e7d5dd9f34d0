"""A run that can learn nothing says so, and what to change."""

import re
from types import SimpleNamespace
from typing import Any

import pytest
from transformers.utils import logging

from mot_trl.trainer.stall_watch import PATIENCE, StallWatch

FINE = {"mixture/closed_ratio": 0.5, "frac_reward_zero_std": 0.5, "reward": 0.2}
OPEN = {**FINE, "mixture/closed_ratio": 0.0, "frac_reward_zero_std": 1.0}
FLAT = {**FINE, "frac_reward_zero_std": 1.0}
ORDINARY = {"frac_reward_zero_std": 1.0, "reward": 0.0}
ARGS = SimpleNamespace(max_completion_length=100, stop_text="</think>", num_generations=8)


def warnings_of(
    logs: list[dict[str, float]], monkeypatch: pytest.MonkeyPatch, *, every: int = 1, begin: int = 0
) -> Any:
    """The warnings of a run with these logs, and the steps at which they came."""
    warned: list[tuple[int, str]] = []
    watch, state = StallWatch(), SimpleNamespace(global_step=begin, is_world_process_zero=True)
    logger = logging.get_logger("mot_trl.trainer.stall_watch")
    monkeypatch.setattr(logger, "warning", lambda text: warned.append((state.global_step, text)))
    watch.on_train_begin(ARGS, state, None)
    for entry in logs:
        state.global_step += every
        watch.on_log(ARGS, state, None, logs=entry)
    return warned


@pytest.mark.parametrize(
    ("logs", "message"),
    [
        (OPEN, r"No completion has closed its thinking in 10 steps.*`max_mixture_tokens=75`"),
        (FLAT, r"earned the same in 10 steps \(0\.2 on average\).*`num_generations=8`"),
        (ORDINARY, "earned the same in 10 steps"),
    ],
)
def test_a_trouble_that_lasts_is_named_once(
    logs: dict[str, float], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ((step, text),) = warnings_of([logs] * 3 * PATIENCE, monkeypatch)

    assert step == PATIENCE
    assert re.search(message, text)


def test_what_ends_in_time_is_not_worth_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    assert warnings_of(([FLAT] * (PATIENCE - 1) + [FINE]) * 3, monkeypatch) == []
    assert warnings_of([FINE] * 50, monkeypatch) == []
    assert warnings_of([{"eval_reward": 0.0}, {"loss": 1.0}] * 20, monkeypatch) == []


def test_a_trouble_that_comes_back_is_named_again(monkeypatch: pytest.MonkeyPatch) -> None:
    logs = [FLAT] * PATIENCE + [FINE] + [FLAT] * PATIENCE

    assert [step for step, _ in warnings_of(logs, monkeypatch)] == [PATIENCE, 2 * PATIENCE + 1]


def test_steps_are_counted_however_rare_the_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [step for step, _ in warnings_of([FLAT] * 3, monkeypatch, every=6, begin=100)] == [112]
