"""Learning curves read the logs of runs, and show their confidence intervals."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from matplotlib.image import imread

from mot_trl.commands.plots import main
from mot_trl.traces.learning_curves import PANELS, curve, draw, escape_label, new_figure, plot_runs, read_log


def write_state(folder: Path, entries: list[dict[str, Any]], *, steps: int = 20) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": steps, "log_history": entries}))


def make_log(*, shift: float = 0.0) -> list[dict[str, Any]]:
    train = [
        {"step": step, "reward": shift + (step % 4) / 4, "mixture/entropy": 1 / step, "mixture/closed_ratio": 0.5}
        for step in range(1, 21)
    ]
    evaluated = [
        {"step": step, "eval_reward": shift + step / 40, "eval_reward_std": 0.5, "eval_runtime": 2.0,
         "eval_samples_per_second": 12.5}
        for step in (10, 20)
    ]  # fmt: skip
    return train + evaluated


def test_runs_are_drawn_over_one_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_state(tmp_path / "mixed", make_log())
    write_state(tmp_path / "pl$ain$", make_log(shift=1.0)[:20])

    status = main([str(tmp_path / "mixed"), str(tmp_path / "pl$ain$"), "--window", "4"])
    named = [Path(line) for line in capsys.readouterr().out.split()]

    assert status == 0
    assert {path.name for path in named} == {
        f"{name}.{suffix}"
        for name in ("train_score", "eval_score", "mixture_entropy", "closed", "overview")
        for suffix in ("png", "svg")
    }
    image = imread(tmp_path / "mixed" / "plots" / "train_score.png")[..., :3]
    for color in ((31, 119, 180), (255, 127, 14)):
        assert (abs(image * 255 - color) < 2).all(axis=-1).sum() > 100, "each run has a line"
    assert "<svg" in (tmp_path / "mixed" / "plots" / "overview.svg").read_text()


def test_train_intervals_are_those_of_the_mean_over_a_window(tmp_path: Path) -> None:
    write_state(tmp_path, make_log())

    drawn = curve(read_log(tmp_path), "reward", window=4)

    std = math.sqrt(sum((value - 0.375) ** 2 for value in (0, 0.25, 0.5, 0.75)) / 3)
    assert drawn.index.tolist() == list(range(1, 21))
    assert drawn["mean"].tolist()[2:-1] == pytest.approx([0.375] * 17)
    assert drawn.loc[10, "high"] - drawn.loc[10, "mean"] == pytest.approx(1.96 * std / 2)
    assert drawn.loc[10, "mean"] - drawn.loc[10, "low"] == pytest.approx(1.96 * std / 2)


def test_eval_intervals_count_prompts(tmp_path: Path) -> None:
    write_state(tmp_path, make_log())

    drawn = curve(read_log(tmp_path), "eval_reward")

    assert drawn["mean"].to_dict() == {10: 0.25, 20: 0.5}
    assert (drawn["mean"] - drawn["low"]).tolist() == pytest.approx([1.96 * 0.5 / 5] * 2)


def test_an_evaluation_without_a_standard_deviation_has_no_interval(tmp_path: Path) -> None:
    write_state(tmp_path, [{"step": 10, "eval_reward": 0.25}])

    drawn = curve(read_log(tmp_path), "eval_reward")

    assert drawn["mean"].tolist() == [0.25]
    assert drawn[["low", "high"]].isna().all(axis=None)


def test_a_mean_over_steps_does_not_lag(tmp_path: Path) -> None:
    write_state(tmp_path, [{"step": step, "reward": step / 20} for step in range(1, 21)])

    drawn = curve(read_log(tmp_path), "reward", window=5)

    assert drawn["mean"].tolist()[2:-2] == pytest.approx([step / 20 for step in range(3, 19)])


def test_the_band_of_a_share_stays_within_0_and_1(tmp_path: Path) -> None:
    write_state(tmp_path, [{"step": step, "mixture/closed_ratio": step % 2} for step in range(1, 5)])
    (panel,) = (panel for panel in PANELS if panel.name == "closed")
    _, axes = new_figure(1, 1, size=(7, 4))

    draw(axes[0][0], panel, {"run": read_log(tmp_path)}, window=3)

    (band,) = axes[0][0].collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (0, 1)
    assert all(tick == int(tick) for tick in axes[0][0].get_xticks())


def test_the_log_that_came_furthest_is_read_and_a_step_logged_again_counts_last(tmp_path: Path) -> None:
    write_state(tmp_path, [{"step": 1, "reward": 0.1}], steps=8)
    write_state(tmp_path / "checkpoint-9", [{"step": 1, "reward": 0.1}], steps=9)
    write_state(tmp_path / "checkpoint-10", [{"step": 1, "reward": 0.2}, {"step": 1, "reward": 0.3}], steps=10)

    assert read_log(tmp_path)["reward"].tolist() == [0.3]


def test_tensorboard_files_do_where_no_state_was_saved(tmp_path: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path / "runs" / "now")) as writer:
        for step in (1, 2):
            writer.add_scalar("train/reward", step / 4, step)
        writer.add_scalar("eval/reward", 0.75, 2)
        writer.add_scalar("train/mixture/entropy", 0.5, 2)

    log = read_log(tmp_path)

    assert log["reward"].tolist() == [0.25, 0.5]
    assert log.loc[2, "eval_reward"] == 0.75
    assert log.loc[2, "mixture/entropy"] == 0.5


def test_a_folder_without_a_log_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 1
    assert str(tmp_path) in capsys.readouterr().err
    with pytest.raises(FileNotFoundError, match="trainer_state"):
        plot_runs([tmp_path])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a", "a"),
        (" a", "␣a"),
        ("$x$", r"\$x\$"),
        ("\n", r"\n"),
        ("x" * 40, "x" * 23 + "…"),
        ("你", r"\u4f60"),
        ("é", "é"),
    ],
)
def test_labels_are_only_text(text: str, shown: str) -> None:
    assert escape_label(text) == shown
