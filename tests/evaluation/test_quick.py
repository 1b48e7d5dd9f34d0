"""Accuracy by task: reproducible, and it leaves no trace on a training that goes on."""

import math

import pytest
import torch
from conftest import make_model, make_tokenizer

from mot_trl.evaluation.quick import Measurement, accuracy_table, evaluate_accuracy
from mot_trl.evaluation.statistics import Estimate

ROWS = [
    {
        "prompt": [{"role": "user", "content": str(number)}],
        "answer": str(number),
        "task": "odd" if number % 2 else "even",
    }
    for number in range(6)
]


def odd(completions: list, answer: list[str], **_: object) -> list[float]:
    """1 for the odd questions, whatever the completion."""
    return [float(int(gold) % 2) for _, gold in zip(completions, answer, strict=True)]


def test_each_task_and_all_rows_have_their_own_mean() -> None:
    found = evaluate_accuracy(make_model(), make_tokenizer(), ROWS, odd, max_new_tokens=4)

    assert {task: each.accuracy.mean for task, each in found.items()} == {"all": 0.5, "even": 0.0, "odd": 1.0}


def test_the_mean_nll_estimates_the_entropy() -> None:
    model = make_model()
    model.lm_head.weight.data.zero_()

    found = evaluate_accuracy(model, make_tokenizer(), ROWS, odd, max_new_tokens=4)

    assert found["all"].mean_nll == pytest.approx(math.log(259), abs=1e-4)


def test_a_training_goes_on_as_if_nothing_had_been_measured() -> None:
    model = make_model().train()
    torch.manual_seed(1)
    state = torch.get_rng_state()

    first = evaluate_accuracy(model, make_tokenizer(), ROWS, odd, max_new_tokens=4)
    second = evaluate_accuracy(model, make_tokenizer(), ROWS, odd, max_new_tokens=4)

    assert first == second
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training


def test_the_table_has_a_column_a_measurement() -> None:
    measured = {"before": {"sum": Measurement(Estimate(0.25, 0.2, 0.3), 1.0)}}

    assert accuracy_table(measured).splitlines()[2] == "| sum | 0.25 (0.20 to 0.30) |"
