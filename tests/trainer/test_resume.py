"""A run that was killed goes on as if nothing had happened."""

import errno
import json
import runpy
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from killed_runs import DEADLY_STEP, MOMENTS, STEPS, make_trainer

from mot_trl.trainer.checkpoint_files import explaining_full_disk, newest_complete

SCRIPT = Path(__file__).with_name("killed_runs.py")
long_run = runpy.run_path(str(SCRIPT.parents[2] / "benchmarks" / "long_run.py"))["run"]
CURVE = ("loss", "grad_norm", "reward", "entropy", "mixture/share", "learning_rate")


def curve(trainer: Any) -> list[tuple[float | None, ...]]:
    """What was logged at each step, to the last digit; what is of the generation is logged where one is made."""
    return [tuple(entry.get(name) for name in CURVE) for entry in trainer.state.log_history if "loss" in entry]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[float | None, ...]]]:
    folder = tmp_path_factory.mktemp("run")
    trainer = make_trainer(folder)
    trainer.train()
    assert len(curve(trainer)) == STEPS
    return folder, curve(trainer)


@pytest.mark.parametrize("step", [2, 4, 5, 8, 9], ids=lambda step: f"step {step}")
def test_a_resumed_run_is_the_uninterrupted_one_step_for_step(step: int, uninterrupted: Any, tmp_path: Path) -> None:
    folder, expected = uninterrupted

    resumed = make_trainer(tmp_path)
    resumed.train(resume_from_checkpoint=str(folder / f"checkpoint-{step}"))

    assert curve(resumed) == expected


@pytest.mark.slow
def test_a_run_killed_at_any_moment_goes_on_from_its_newest_complete_checkpoint(
    uninterrupted: Any, tmp_path: Path
) -> None:
    _, expected = uninterrupted

    command = [sys.executable, str(SCRIPT), str(tmp_path), *MOMENTS]
    output = subprocess.run(command, capture_output=True, text=True, timeout=300).stdout

    for moment in MOMENTS:
        assert f"{moment}:{-signal.SIGKILL}" in output
        whole = DEADLY_STEP - 1 if moment.startswith("saving") else 4
        assert newest_complete(tmp_path / moment) == tmp_path / moment / f"checkpoint-{whole}"
        resumed = make_trainer(tmp_path / moment)
        resumed.train(resume_from_checkpoint="latest")
        assert curve(resumed) == expected, moment


def test_other_mixtures_are_refused_unless_told(uninterrupted: Any, tmp_path: Path) -> None:
    folder, expected = uninterrupted
    checkpoint = str(folder / "checkpoint-6")

    with pytest.raises(ValueError, match=r"strategy 'dirichlet' -> 'top_k'.*resume_with_changes"):
        make_trainer(tmp_path, strategy="top_k").train(checkpoint)
    with pytest.raises(ValueError, match=r"strategy_kwargs .*'k': 2.* -> .*'k': 3"):
        make_trainer(tmp_path, mixture_k=3).train(checkpoint)
    with pytest.raises(ValueError, match="normal_generation None -> True"):
        make_trainer(tmp_path, normal_generation=True).train(checkpoint)

    told = make_trainer(tmp_path, strategy="top_k", mixture_k=3, resume_with_changes=True)
    told.train(checkpoint)
    assert curve(told)[:6] == expected[:6]
    # The rollouts that were left are of the other strategy, so others are drawn at once.
    assert curve(told)[6][CURVE.index("reward")] is not None
    assert expected[6][CURVE.index("reward")] is None


def test_batches_of_another_size_are_drawn_anew(uninterrupted: Any, tmp_path: Path) -> None:
    folder, _ = uninterrupted

    resumed = make_trainer(tmp_path, steps_per_generation=1, max_steps=6)
    resumed.train(str(folder / "checkpoint-5"))

    assert curve(resumed)[5][CURVE.index("reward")] is not None


def test_a_checkpoint_that_is_written_over_is_half_written_meanwhile(uninterrupted: Any, tmp_path: Path) -> None:
    folder, _ = uninterrupted
    shutil.copytree(folder / "checkpoint-1", tmp_path / "checkpoint-1")
    states: list[Path | None] = []

    class Watched(type(make_trainer(tmp_path))):
        def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
            states.append(newest_complete(tmp_path))
            super()._save_optimizer_and_scheduler(output_dir)

    trainer = make_trainer(tmp_path, max_steps=1)
    trainer.__class__ = Watched
    trainer.train()

    assert states == [None]
    assert newest_complete(tmp_path) == tmp_path / "checkpoint-1"


def test_a_full_disk_is_reported_before_training_and_skips_a_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    free = iter([usage.free, usage.free, usage.free, 0, usage.free])
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=next(free)))

    make_trainer(tmp_path, max_steps=3).train()

    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == ["checkpoint-1", "checkpoint-3"]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1))
    with pytest.raises(RuntimeError, match=r"has 0\.0 MiB free, and 0\.\d MiB are needed for the model alone"):
        make_trainer(tmp_path).train()


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "none"), OSError(errno.EDQUOT, "none"), Exception("I/O: No space left on device")]
)
def test_a_disk_that_fills_up_while_saving_is_named(error: Exception, tmp_path: Path) -> None:
    message = r"is full: .* MiB are free, and the model takes 2\.0 MiB.*latest"
    with pytest.raises(RuntimeError, match=message), explaining_full_disk(tmp_path, 2 * 2**20):
        raise error
    with pytest.raises(ValueError, match="else"), explaining_full_disk(tmp_path, 1):
        raise ValueError("something else")


def test_the_list_of_files_is_of_what_is_there(uninterrupted: Any) -> None:
    checkpoint = uninterrupted[0] / "checkpoint-3"

    manifest = json.loads((checkpoint / "mot_trl.json").read_text())

    assert manifest["mixtures"]["strategy"] == "dirichlet"
    assert {"model.safetensors", "optimizer.pt", "rng_state.pth", "rollouts_0.pt"} <= set(manifest["files"])


@pytest.mark.slow
def test_a_long_run_stays_as_it_began(tmp_path: Path) -> None:
    # `benchmarks/long_run.py` does the same for 500 steps, and weighs the memory, too.
    holdings = long_run(steps=60, every=20, folder=str(tmp_path))

    first = holdings[0]
    for later in holdings[1:]:
        assert later[2:] == first[2:]
