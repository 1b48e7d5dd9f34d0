"""Ctrl-C saves what was learnt, and run the same command to resume from there."""

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import make_model, make_tokenizer
from datasets import Dataset
from transformers import TrainerCallback

from mot_trl import MoTGRPOConfig, MoTGRPOTrainer
from mot_trl.trainer.script_utils import train_resumable

STEPS = 4


class CtrlC(TrainerCallback):
    """The signal of a terminal, in the midst of a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self.step - 1:
            signal.raise_signal(signal.SIGINT)


class Steps(TrainerCallback):
    """Which steps were trained, not read from a checkpoint."""

    def __init__(self) -> None:
        self.done: list[int] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.done.append(state.global_step)


def vowels(completions: list[list[dict[str, str]]], **_: object) -> list[float]:
    return [float(sum(map(completion[0]["content"].count, "aeiou"))) for completion in completions]


def make_trainer(
    folder: Path, prompts: Dataset, *callbacks: TrainerCallback, strategy: str = "dirichlet", steps: int = STEPS
) -> MoTGRPOTrainer:
    config = MoTGRPOConfig(
        output_dir=str(folder),
        strategy=strategy,
        per_device_train_batch_size=8,
        num_generations=4,
        max_completion_length=8,
        max_steps=steps,
        learning_rate=1e-3,
        logging_steps=1,
        save_steps=100,
        report_to=[],
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        disable_tqdm=True,
    )
    return MoTGRPOTrainer(
        make_model(),
        vowels,
        config,
        train_dataset=prompts,
        processing_class=make_tokenizer(),
        callbacks=list(callbacks),
    )


def test_ctrl_c_loses_nothing(tmp_path: Path, prompts: Dataset) -> None:
    uninterrupted = make_trainer(tmp_path / "whole", prompts)
    train_resumable(uninterrupted)
    handler = signal.getsignal(signal.SIGINT)

    with pytest.raises(SystemExit, match="Stopped after step 2; run the same command to resume"):
        train_resumable(make_trainer(tmp_path / "parts", prompts, CtrlC(2)))
    steps = Steps()
    resumed = make_trainer(tmp_path / "parts", prompts, steps)
    train_resumable(resumed)

    assert signal.getsignal(signal.SIGINT) is handler
    assert steps.done == [3, 4]
    assert [entry["step"] for entry in resumed.state.log_history if "reward" in entry] == [1, 2, 3, 4]
    assert (tmp_path / "parts" / "model.safetensors").is_file()
    for mine, theirs in zip(resumed.model.parameters(), uninterrupted.model.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path, prompts: Dataset) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_resumable(make_trainer(tmp_path, prompts, CtrlC(2), CtrlC(2)))

    assert not list(tmp_path.glob("checkpoint-*"))


def test_a_background_job_goes_on_ignoring_ctrl_c(tmp_path: Path, prompts: Dataset) -> None:
    heard = signal.signal(signal.SIGINT, signal.SIG_IGN)
    steps = Steps()
    try:
        train_resumable(make_trainer(tmp_path, prompts, CtrlC(2), steps))
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, heard)

    assert steps.done == [1, 2, 3, 4]


def test_a_run_that_is_over_is_not_trained_again(
    tmp_path: Path, prompts: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    last = STEPS - 1  # in the midst of an epoch
    trained = make_trainer(tmp_path, prompts, steps=last)
    train_resumable(trained)
    steps = Steps()
    again = make_trainer(tmp_path, prompts, steps, steps=last)

    train_resumable(again)

    assert steps.done == []
    assert [entry["step"] for entry in again.state.log_history if "reward" in entry] == list(range(1, last + 1))
    assert f"{tmp_path} holds this run already, finished" in capsys.readouterr().out
    for mine, theirs in zip(again.model.parameters(), trained.model.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_another_run_in_the_folder_is_not_taken_for_the_one_asked_for(tmp_path: Path, prompts: Dataset) -> None:
    train_resumable(make_trainer(tmp_path, prompts, steps=1))

    with pytest.raises(ValueError, match=r"other settings \(strategy 'dirichlet' -> 'multiplex'.*--output_dir"):
        train_resumable(make_trainer(tmp_path, prompts, steps=1, strategy="multiplex"))


def test_each_log_is_a_line(tmp_path: Path, prompts: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    train_resumable(make_trainer(tmp_path, prompts))

    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step")]

    assert [line.split()[1] for line in lines] == ["1", "2", "3", "4"]
    assert all("reward" in line and "left" in line for line in lines)
