"""Write the tables of token selection as CSV, and draw them as one figure."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from mot_trl.traces.learning_curves import escape_label, new_figure, save
from mot_trl.traces.storage import load_traces
from mot_trl.traces.token_selection import along_thinking, disagreements, over_training, pairs


def write_analysis(run_dir: Path | str) -> Iterator[Path]:
    """Write four tables as CSV and a figure as PNG and SVG to the run's `traces/analysis`; yields each when written.

    Raises:
        ImportError: matplotlib is missing; the tables are written all the same.
    """
    traces, folder = load_traces(run_dir), Path(run_dir) / "traces" / "analysis"
    folder.mkdir(parents=True, exist_ok=True)
    for make in (pairs, along_thinking, disagreements, over_training):
        path = folder / f"{make.__name__}.csv"
        make(traces).to_csv(path, index=False)
        yield path
    yield from save(selection_figure(traces), folder / "selection")


def selection_figure(traces: pa.Table) -> Any:
    """A matplotlib figure: how widely tokens are mixed along the thinking and over training, and which ones.

    Raises:
        ImportError: matplotlib is missing.
    """
    figure, axes = new_figure(3, 2, size=(12, 11))
    left, right = axes[0]
    along = along_thinking(traces)
    left.fill_between(along["share"], along["low"], along["high"], alpha=0.2, lw=0, label="middle half")
    left.plot(along["share"], along["effective"], label="mean")
    left.set(title="Effective candidates along the thinking", xlabel="share of the thinking")
    right.plot(along["share"], along["entropy"], label="next token")
    right.plot(along["share"], along["mixture_entropy"], label="mixture's weights")
    right.set(title="Entropy along the thinking", xlabel="share of the thinking", ylabel="nats", ylim=(0, None))
    left, right = axes[1]
    for index, (split, table) in enumerate(over_training(traces).sort_values("step").groupby("split", sort=False)):
        style: Any = {"color": f"C{index}", "marker": "o", "ms": 4, "label": split}
        left.plot(table["step"], table["effective"], **style)
        right.plot(table["step"], table["disagreement"] * 100, **style)
    left.set(title="Effective candidates over training")
    right.set(title="Visible token not the heaviest", ylabel="% of drawn positions", ylim=(0, None))
    for one in axes[1]:
        one.set_xlabel("step")
        one.xaxis.get_major_locator().set_params(integer=True)
    for one in axes[:2].flat:
        one.margins(y=0.15)
        one.legend(frameon=False, ncols=2)
    left, right = axes[2]
    _bars(left, pairs(traces, top=15), "token", "+", "other")
    left.set(title="Tokens mixed most often", xlabel="% of mixed positions")
    _bars(right, disagreements(traces, top=15), "visible", "over", "heaviest")
    right.set(title="Visible token over a heavier one", xlabel="% of drawn positions")
    return figure


def _bars(axes: Any, table: pd.DataFrame, first: str, between: str, second: str) -> None:
    names = table[first].map(escape_label) + f" {between} " + table[second].map(escape_label)
    axes.barh(range(len(table)), table["share"] * 100, tick_label=names)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
