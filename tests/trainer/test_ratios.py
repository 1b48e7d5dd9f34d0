"""Ratios of thoughts that leave the clip far more often than those of tokens are warned of, once."""

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from test_grpo_trainer import make_trainer

from mot_trl.strategies import build_strategy
from mot_trl.trainer.ratios import RatioWatch, exceeds

NOISY = {"strategy": "dirichlet", "mixture_k": 5, "strategy_kwargs": {"min_prob": 0.0}}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (NOISY, 1),
        ({**NOISY, "delta": 2.0}, 0),
        ({**NOISY, "num_iterations": 1}, 0),
        ({**NOISY, "importance_sampling_level": "sequence"}, 0),
        ({**NOISY, "loss_type": "cispo"}, 0),
        ({"strategy": "polya_urn", "mixture_k": 3}, 0),
        ({"strategy": "one_token"}, 0),
    ],
    ids=["unbounded", "delta", "one pass", "sequence", "bounded by the loss", "less noise", "tokens"],
)
def test_noisy_densities_are_warned_of_once_with_the_remedies(
    settings: dict[str, Any], expected: int, tmp_path: Path, prompts: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    # Half of each completion thinks, the other half answers.
    phases = {"max_mixture_tokens": 6, "stop_text": "!", "generation_kwargs": {"suppress_tokens": [2]}}
    quick = {"gradient_checkpointing": False, "gradient_accumulation_steps": 1, "trace_steps": 0}
    quick["per_device_train_batch_size"] = 16
    passes = {"num_iterations": 3, "max_steps": 6, "learning_rate": 3e-4, "lr_scheduler_type": "constant"}

    make_trainer(tmp_path, prompts, **{**phases, **quick, **passes, **settings}).train()

    warnings = [record.message for record in caplog.records if "beyond the clip" in record.message]
    assert len(warnings) == expected
    for remedy in ("delta", "num_iterations=1", "min_ratio", "polya_urn", "gumbel_exact"):
        assert all(remedy in warning for warning in warnings)


def test_what_chance_explains_is_no_excess() -> None:
    assert not exceeds(0, 0, 0, 0)
    # Without ordinary tokens there is nothing to compare with.
    assert not exceeds(900, 1000, 0, 0)
    assert not exceeds(3, 20, 0, 20)
    assert exceeds(300, 2000, 4, 200)
    assert not exceeds(300, 2000, 28, 200)
    # However sure, a small excess is none.
    assert not exceeds(4_000, 100_000, 1_000, 100_000)


def test_late_drift_is_not_drowned(caplog: pytest.LogCaptureFixture) -> None:
    watch = RatioWatch(build_strategy("dirichlet"), (0.8, 1.2))
    thoughts = torch.ones(8, 50, dtype=torch.bool)
    thoughts[:, 25:] = False

    for _ in range(200):
        watch.add(torch.full((8, 50), 0.1), thoughts, ~thoughts)
    assert not caplog.records
    for _ in range(3):
        watch.add(torch.where(thoughts, -0.5, 0.1), thoughts, ~thoughts)

    assert len(caplog.records) == 1
