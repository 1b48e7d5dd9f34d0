"""Write the tables of token selection as CSV, and draw them as one figure."""

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from mot_trl.traces.learning_curves import escape_label, new_figure, save
from mot_trl.traces.storage import load_traces
from mot_trl.traces.token_selection import along_thinking, disagreements, over_training, pairs


def selection_figure(traces: pa.Table) -> Any:
    """A matplotlib figure: how widely tokens are mixed along the thinking and over training, and which ones.

    Raises:
        ImportError: matplotlib is missing.
    """
    figure, axes = new_figure(3, 2, size=(12, 11))
    # First row: from the beginning of the thinking to its end, over all steps.
    along = along_thinking(traces)
    axes[0][0].fill_between(along["share"], along["low"], along["high"], alpha=0.2, lw=0, label="middle half")
    axes[0][0].plot(along["share"], along["effective"], label="mean")
    axes[0][0].set(title="Effective candidates along the thinking", xlabel="share of the thinking")
    axes[0][1].plot(along["share"], along["entropy"], label="next token")
    axes[0][1].plot(along["share"], along["mixture_entropy"], label="mixture's weights")
    axes[0][1].set(title="Entropy along the thinking", xlabel="share of the thinking", ylabel="nats", ylim=(0, None))
    # Second row: from the first traced step to the last, training and evaluation apart.
    for index, (split, table) in enumerate(over_training(traces).sort_values("step").groupby("split", sort=False)):
        style: Any = {"color": f"C{index}", "marker": "o", "ms": 4, "label": split}
        axes[1][0].plot(table["step"], table["effective"], **style)
        axes[1][1].plot(table["step"], table["disagreement"] * 100, **style)
    axes[1][0].set(title="Effective candidates over training", xlabel="step")
    axes[1][1].set(
        title="Visible token not the heaviest", xlabel="step", ylabel="% of drawn positions", ylim=(0, None)
    )
    for one in axes[:2].flat:
        # Room above the curves for the legend.
        one.margins(y=0.15)
        one.legend(frameon=False, ncols=2)
    for one in axes[1]:
        one.xaxis.get_major_locator().set_params(integer=True)
    # Third row: single tokens.
    _bars(axes[2][0], pairs(traces, top=15), ("token", "other"), "+")
    axes[2][0].set(title="Tokens mixed most often", xlabel="% of mixed positions")
    _bars(axes[2][1], disagreements(traces, top=15), ("visible", "heaviest"), "over")
    axes[2][1].set(title="Visible token over a heavier one", xlabel="% of drawn positions")
    return figure


def _bars(axes: Any, table: pd.DataFrame, columns: tuple[str, str], between: str) -> None:
    # matplotlib draws the first bar at the bottom; the most frequent pair belongs on top.
    table = table.iloc[::-1]
    names = [
        f"{escape_label(first)} {between} {escape_label(second)}"
        for first, second in zip(*(table[name] for name in columns), strict=True)
    ]
    axes.barh(range(len(table)), table["share"] * 100, tick_label=names)
    axes.grid(visible=False, axis="y")


def write_tables(run_dir: Path | str) -> list[Path]:
    """Write the four tables as CSV to the run's `traces/analysis` folder."""
    traces, folder = load_traces(run_dir), _analysis_folder(run_dir)
    written = []
    for make in (pairs, along_thinking, disagreements, over_training):
        written.append(folder / f"{make.__name__}.csv")
        make(traces).to_csv(written[-1], index=False)
    return written


def write_figure(run_dir: Path | str) -> list[Path]:
    """Write the figure as PNG and SVG, next to the tables.

    Raises:
        ImportError: matplotlib is missing.
    """
    return save(selection_figure(load_traces(run_dir)), _analysis_folder(run_dir) / "selection")


def _analysis_folder(run_dir: Path | str) -> Path:
    folder = Path(run_dir) / "traces" / "analysis"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
