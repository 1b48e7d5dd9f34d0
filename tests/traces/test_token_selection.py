"""Tables of token selection, on traces small enough to count by hand."""

import math
import sys
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from conftest import make_tokenizer
from traces_rows import make_row

from mot_trl.commands.traces import main
from mot_trl.modeling.rollout import Rollout
from mot_trl.strategies.mixture import LOG_ZERO_WEIGHT
from mot_trl.traces import along_thinking, disagreements, over_training, pairs, positions
from mot_trl.traces.completion_column import widest_mixtures
from mot_trl.traces.page import to_payload
from mot_trl.traces.schema import SCHEMA
from mot_trl.traces.storage import write_trace

HALVES = {"one": 0.5, " uno": 0.5}
LIGHT = {" two": 0.25, "one": 0.75}


def make_traces() -> pa.Table:
    rows = [
        make_row(step=1, tokens=["one", " two", "."], mixtures={0: HALVES, 1: LIGHT}, closed_at=2, reward=0.0),
        make_row(step=1, tokens=["one", " two"], mixtures={0: HALVES}),
        make_row(step=9, tokens=["one", " two"], reward=None),
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def test_positions_describe_the_mixtures() -> None:
    table = positions(make_traces())

    assert table["completion"].tolist() == [0, 0, 1, 1, 2, 2]
    assert table["effective"].tolist() == pytest.approx([2, 1.6, 2, 1, 1, 1])
    assert table["mixture_entropy"].tolist() == pytest.approx([0.6931, 0.5623, 0.6931, 0, 0, 0], abs=1e-4)
    assert table["entropy"].tolist() == [0.75] * 6
    assert table["heaviest"].tolist()[1] == "one"
    assert table["visible_weight"].tolist() == pytest.approx([0.5, 0.25, 0.5, 1, 1, 1])
    assert table["share"].tolist() == [0, 1] * 3


def test_candidates_of_weight_zero_are_not_mixed() -> None:
    row = make_row(tokens=["one"], mixtures={0: {"one": 1.0, " uno": math.exp(LOG_ZERO_WEIGHT)}})
    traces = pa.Table.from_pylist([row], schema=SCHEMA)

    table = positions(traces)
    (shown,) = to_payload([row])["completions"]

    assert table["candidates"].tolist() == [1]
    assert pairs(traces, min_weight=0.0).empty
    assert shown["counts"] == [1]


def test_pairs_are_counted_once_a_position() -> None:
    table = pairs(make_traces())

    assert table[["token", "other", "count"]].values.tolist() == [["one", " uno", 2], ["one", " two", 1]]
    assert table["share"].tolist() == pytest.approx([2 / 3, 1 / 3])
    assert table.loc[1, ["weight", "other_weight"]].tolist() == pytest.approx([0.75, 0.25])
    assert len(pairs(make_traces(), min_weight=0.3)) == 1


def test_disagreements_are_where_another_token_is_heavier() -> None:
    (row,) = disagreements(make_traces()).to_dict("records")

    assert (row["visible"], row["heaviest"], row["count"]) == (" two", "one", 1)
    assert row["share"] == pytest.approx(1 / 6)


def test_along_the_thinking_and_over_training() -> None:
    along = along_thinking(make_traces(), bins=2)
    training = over_training(make_traces())

    assert along["draws"].tolist() == [3, 3]
    assert along["effective"].tolist() == pytest.approx([5 / 3, 3.6 / 3])
    assert training["step"].tolist() == [1, 9]
    assert training["reward"].tolist()[0] == 0.5
    assert training["closed"].tolist() == [0.5, 0.0]
    assert training["thinking_length"].tolist() == [2, 2]
    assert training["mixed"].tolist() == [0.75, 0]
    assert training["disagreement"].tolist() == [0.25, 0]


def test_a_trace_without_thinking_gives_empty_tables() -> None:
    traces = pa.Table.from_pylist([make_row(closed_at=0)], schema=SCHEMA)

    assert positions(traces).empty
    assert pairs(traces).empty
    assert disagreements(traces).empty
    assert along_thinking(traces).empty
    assert len(over_training(traces)) == 1


def test_the_command_writes_the_page_and_the_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_trace(make_traces(), tmp_path / "traces" / "train_000001.parquet", {"strategy": "TopK(k=2)"})

    status = main([str(tmp_path), "--tables"])
    written = [Path(line) for line in capsys.readouterr().out.splitlines()]

    assert status == 0
    assert written[0] == tmp_path / "traces.html"
    assert [path.name for path in written[1:]] == [
        "pairs.csv", "along_thinking.csv", "disagreements.csv", "over_training.csv", "selection.png", "selection.svg",
    ]  # fmt: skip
    assert all(path.stat().st_size > 50 for path in written)
    assert main([str(tmp_path / "nothing")]) == 1
    assert "trace_steps" in capsys.readouterr().err


def test_tables_need_no_matplotlib_and_the_plots_say_how_to_get_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_trace(make_traces(), tmp_path / "traces" / "train_000001.parquet", {})
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)

    status = main([str(tmp_path), "--tables"])
    printed = capsys.readouterr()

    assert status == 1
    assert [Path(line).suffix for line in printed.out.splitlines()] == [".html"] + [".csv"] * 4
    assert printed.err == 'Plots need matplotlib: pip install "matplotlib>=3.9" (the extra mot-trl[plots])\n'


def test_the_console_column_shows_the_widest_mixtures_without_control_characters() -> None:
    tokenizer = make_tokenizer()
    rollout = Rollout.empty(2, 4, num_candidates=2, device="cpu")
    letter, escape = tokenizer.encode("a\x1b")
    rollout.candidate_ids[0, :, 0], rollout.candidate_ids[0, :, 1] = letter, escape
    rollout.log_weights[0] = torch.tensor([[0.9, 0.1], [0.5, 0.5], [0.75, 0.25], [0.999, 0.001]]).log()
    rollout.mixture_mask[0] = True

    first, second = widest_mixtures(rollout, tokenizer, positions=4)

    assert first.splitlines()[:3] == ["1.46 effective", "#0 'a' 90% '\\x1b' 10%", "#1 'a' 50% '\\x1b' 50%"]
    assert first.splitlines()[3:] == ["#2 'a' 75% '\\x1b' 25%", "#3 'a' 100%"]
    assert second == "none"
