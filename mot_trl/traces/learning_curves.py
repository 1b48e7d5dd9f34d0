"""Learning curves of runs over one another: `mot-trl plots RUN_DIR [RUN_DIR ...]` writes PNG and SVG files."""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unicodedata import east_asian_width

import pandas as pd

Z = 1.96
"""Standard errors in a 95 % interval of a mean."""

MARKS = {"train": "", "eval": "eval_"}


class Panel(NamedTuple):
    """One plot: a file name, a title, the metric of TRL's log that it shows, train or eval, its unit and bounds."""

    name: str
    title: str
    metric: str
    unit: str = ""
    bounds: tuple[float, float] = (-math.inf, math.inf)


PANELS = (
    Panel("train_score", "Train score", "reward", "reward"),
    Panel("eval_score", "Eval score", "eval_reward", "reward"),
    Panel("thinking_length", "Thinking length", "mixture/mean_thinking_length", "tokens"),
    Panel("mixture_entropy", "Entropy of the mixtures' weights", "mixture/entropy", "nats"),
    Panel("effective_candidates", "Effective candidates", "mixture/effective_candidates"),
    Panel("closed", "Completions whose thinking was closed", "mixture/closed_ratio", "share", bounds=(0.0, 1.0)),
    Panel("completion_length", "Completion length", "completions/mean_length", "tokens"),
    Panel("entropy", "Entropy of the next token", "entropy", "nats"),
)


def read_log(run_dir: Path | str) -> pd.DataFrame:
    """The log of a run, one row a step and one column a metric under TRL's name (`reward`, `eval_reward` ...).

    Read from the `trainer_state.json` that has come furthest, the run's own or a checkpoint's, or else from
    TensorBoard's event files, which a run that was interrupted leaves behind too.

    Raises:
        FileNotFoundError: The folder holds neither.
    """
    run_dir = Path(run_dir)
    paths = [*run_dir.glob("trainer_state.json"), *run_dir.glob("checkpoint-*/trainer_state.json")]
    states = [json.loads(path.read_text()) for path in paths]
    furthest = max(states, key=lambda state: state["global_step"], default=None)
    entries = furthest["log_history"] if furthest else _tensorboard_entries(run_dir)
    if not entries:
        raise FileNotFoundError(
            f"No log in {run_dir}: neither trainer_state.json, nor a checkpoint, nor TensorBoard's event files."
        )
    frame = pd.DataFrame(entries)
    # Training and evaluation log the same step apart, and a resumed run logs some steps again: the last counts.
    return frame.groupby("step").last().apply(pd.to_numeric, errors="coerce").sort_index()


def _tensorboard_entries(run_dir: Path) -> list[dict[str, Any]]:
    folders = sorted({path.parent for path in run_dir.rglob("events.out.tfevents*")})
    if not folders:
        return []
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError as error:
        raise ImportError(
            f"{run_dir} has only TensorBoard's files; `pip install tensorboard` to read them."
        ) from error
    entries = []
    for folder in folders:
        events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
        events.Reload()
        for tag in events.Tags()["scalars"]:
            split, _, name = tag.partition("/")
            if split in MARKS:
                values = events.Scalars(tag)
                entries.extend({"step": value.step, MARKS[split] + name: value.value} for value in values)
    return entries


class Curve(NamedTuple):
    """A metric over steps, with a 95 % interval of its mean; the interval is NaN where nothing says how wide it is."""

    steps: list[int]
    means: list[float]
    low: list[float]
    high: list[float]


def curve(log: pd.DataFrame, metric: str, *, window: int = 1) -> Curve:
    """A metric and its interval.

    In training, the mean of the `window` logged values around each, with their standard error: prompts differ from
    step to step, so that these are nearly independent, as long as the policy moves little within the window. In
    evaluation, each value, with the standard error that its `_std` gives for as many prompts as were evaluated:
    completions of one prompt are not independent, and count as one.
    """
    values = log[metric].dropna()
    if metric.startswith("eval_"):
        half = Z * _eval_error(log, metric).reindex(values.index)
        return _curve(values, half)
    rolled = values.rolling(window, min_periods=1, center=True)
    half = Z * rolled.std() / rolled.count().map(math.sqrt)
    return _curve(rolled.mean(), half)


def _eval_error(log: pd.DataFrame, metric: str) -> pd.Series:
    needed = [f"{metric}_std", "eval_runtime", "eval_samples_per_second"]
    if any(name not in log for name in needed):
        return pd.Series(math.nan, index=log.index)
    prompts = (log["eval_runtime"] * log["eval_samples_per_second"]).round().clip(lower=1)
    return log[f"{metric}_std"] / prompts.map(math.sqrt)


def _curve(means: pd.Series, half: pd.Series) -> Curve:
    return Curve(means.index.tolist(), means.tolist(), (means - half).tolist(), (means + half).tolist())


def plot_runs(run_dirs: Sequence[Path | str], out: Path | str | None = None, *, window: int = 10) -> list[Path]:
    """Plot runs over one another, one file a metric that any of them logged, and an overview of all.

    Args:
        run_dirs: Output folders.
        out: Folder for the files; by default `plots` in the first run's.
        window: Logged steps that a train curve's mean and interval are over.

    Returns:
        The files.

    Raises:
        FileNotFoundError: A folder holds no log.
        ImportError: matplotlib is missing.
    """
    names = _names([Path(run_dir).resolve() for run_dir in run_dirs])
    logs = {name: read_log(run_dir) for name, run_dir in zip(names, run_dirs, strict=True)}
    folder = Path(out) if out is not None else Path(run_dirs[0]) / "plots"
    folder.mkdir(parents=True, exist_ok=True)
    panels = [panel for panel in PANELS if any(panel.metric in log for log in logs.values())]
    written = []
    for panel in panels:
        figure, axes = new_figure(1, 1, size=(7, 4.2))
        draw(axes[0][0], panel, logs, window=window)
        written += save(figure, folder / panel.name)
    columns = 2
    rows = math.ceil(len(panels) / columns)
    figure, axes = new_figure(rows, columns, size=(13, 3.8 * rows))
    for index, panel in enumerate(panels):
        draw(axes[index // columns][index % columns], panel, logs, window=window)
    for index in range(len(panels), rows * columns):
        axes[index // columns][index % columns].set_axis_off()
    return [*written, *save(figure, folder / "overview")]


def draw(axes: Any, panel: Panel, logs: dict[str, pd.DataFrame], *, window: int) -> None:
    """Draw one metric of all runs, and lightly its single values where the curve is a mean over steps."""
    for index, (name, log) in enumerate(logs.items()):
        if panel.metric not in log or log[panel.metric].dropna().empty:
            continue
        steps, means, low, high = curve(log, panel.metric, window=window)
        color = f"C{index}"
        (line,) = axes.plot(
            steps, means, color=color, label=escape(name), marker="o" if len(steps) < 12 else None, ms=3
        )
        band = (pd.Series(ends).clip(*panel.bounds) for ends in (low, high))
        axes.fill_between(steps, *band, color=line.get_color(), alpha=0.18, lw=0)
        if window > 1 and not panel.metric.startswith("eval_"):
            single = log[panel.metric].dropna()
            axes.plot(single.index, single, color=color, alpha=0.4, lw=0.7)
    axes.set(title=panel.title, xlabel="step", ylabel=panel.unit)
    axes.xaxis.get_major_locator().set_params(integer=True)
    if len(logs) > 1:
        axes.legend(frameon=False)


def new_figure(rows: int, columns: int, *, size: tuple[float, float]) -> tuple[Any, Any]:
    """A figure and its grid of axes, without a window system.

    Raises:
        ImportError: matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('Plots need matplotlib: pip install "mot-trl[plots]".') from error
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for one in axes.flat:
        one.spines[["top", "right"]].set_visible(False)
        one.grid(alpha=0.25, lw=0.6)
        one.set_axisbelow(True)
    return figure, axes


def save(figure: Any, path: Path) -> list[Path]:
    """Write a figure as PNG and SVG."""
    paths = [path.with_suffix(suffix) for suffix in (".png", ".svg")]
    for one in paths:
        figure.savefig(one, dpi=150)
    return paths


def escape(text: str, *, longest: int = 24) -> str:
    """Text as a label: what no font of matplotlib's shows as Python writes it, `$` not as mathematics, cut if long."""
    drawable = text.isprintable() and not any(east_asian_width(letter) in "WF" for letter in text)
    shown = text if drawable else ascii(text)[1:-1]
    shown = shown if len(shown) <= longest else shown[: longest - 1] + "…"
    return shown.replace("$", r"\$").replace(" ", "␣") if text != text.strip() else shown.replace("$", r"\$")


def _names(run_dirs: Sequence[Path]) -> list[str]:
    """The folders' names, with their parents' where two are the same."""
    short = [run_dir.name for run_dir in run_dirs]
    long = [f"{run_dir.parent.name}/{run_dir.name}" for run_dir in run_dirs]
    names = short if len(set(short)) == len(short) else long
    return names if len(set(names)) == len(names) else [str(run_dir) for run_dir in run_dirs]


def main(arguments: list[str] | None = None) -> int:
    """Read the command line, plot, and name the files."""
    parser = argparse.ArgumentParser(prog="mot-trl plots", description="Plot runs over one another.")
    parser.add_argument("run_dirs", type=Path, nargs="+", metavar="RUN_DIR", help="a run's output_dir")
    parser.add_argument("--output", type=Path, help="folder to write to (default RUN_DIR/plots)")
    parser.add_argument("--window", type=int, default=10, help="logged steps averaged in train curves (default 10)")
    options = parser.parse_args(arguments)
    try:
        written = plot_runs(options.run_dirs, options.output, window=options.window)
    except (FileNotFoundError, ImportError) as error:
        print(error, file=sys.stderr)
        return 1
    print(*written, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
