"""Token selection as tables on disk and as one figure."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from mot_trl.traces.analysis import along_thinking, disagreements, over_training, pairs
from mot_trl.traces.files import load_traces


def selection_figure(traces: pa.Table) -> Any:
    """A matplotlib figure: effective candidates along the thinking and over training, pairs, disagreements.

    Raises:
        ImportError: matplotlib is missing.
    """
    from mot_trl.plots import escape, new_figure

    figure, axes = new_figure(2, 2, size=(12, 8))
    (along_axes, training_axes), (pair_axes, differ_axes) = axes
    along = along_thinking(traces)
    along_axes.fill_between(along["share"], along["low"], along["high"], alpha=0.2, label="middle half")
    along_axes.plot(along["share"], along["effective"], label="mean")
    along_axes.set(title="Effective candidates along the thinking", xlabel="share of the thinking", ylim=(0.9, None))
    along_axes.legend()
    for split, table in over_training(traces).groupby("split"):
        training_axes.plot(table["step"], table["effective"], marker="o", label=f"{split}, effective candidates")
        training_axes.plot(table["step"], 1 + table["disagreement"], ls="--", label=f"{split}, 1 + share not heaviest")
    training_axes.set(title="Mixtures over training", xlabel="step")
    training_axes.legend()
    mixed = pairs(traces, top=15).iloc[::-1]
    names = [f"{escape(a)} + {escape(b)}" for a, b in zip(mixed["token"], mixed["other"], strict=True)]
    pair_axes.barh(range(len(mixed)), mixed["share"] * 100, tick_label=names)
    pair_axes.set(title="Tokens mixed most often", xlabel="% of mixed positions")
    differing = disagreements(traces, top=15).iloc[::-1]
    names = [f"{escape(a)} over {escape(b)}" for a, b in zip(differing["visible"], differing["heaviest"], strict=True)]
    differ_axes.barh(range(len(differing)), differing["share"] * 100, tick_label=names)
    differ_axes.set(title="Visible token over a heavier one", xlabel="% of drawn positions")
    return figure


def write_tables(run_dir: Path | str) -> list[Path]:
    """Write the four tables as CSV, and the figure as PNG and SVG, to the run's `traces/analysis` folder."""
    from mot_trl.plots import save

    traces = load_traces(run_dir)
    folder = Path(run_dir) / "traces" / "analysis"
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for make in (pairs, along_thinking, disagreements, over_training):
        path = folder / f"{make.__name__}.csv"
        make(traces).to_csv(path, index=False)
        written.append(path)
    return [*written, *save(selection_figure(traces), folder / "selection")]
