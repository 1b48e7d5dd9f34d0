"""Learning curves of one or more runs, as PNG and SVG files: what `mot-trl plots` writes."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unicodedata import east_asian_width

import pandas as pd

from mot_trl.extras import install_hint


class Panel(NamedTuple):
    """One plot: its file name and title, the metric of TRL's log that it shows, the metric's unit and bounds."""

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
    """The log of a run, one row per step and one column per metric under TRL's name (`reward`, `eval_reward` ...).

    Read from the most advanced `trainer_state.json`, the run's own or a checkpoint's, or else from TensorBoard's
    event files, which an interrupted run leaves behind too.

    Raises:
        FileNotFoundError: The folder holds neither.
        ImportError: Only event files are there, and tensorboard is missing.
    """
    run_dir = Path(run_dir)
    paths = [*run_dir.glob("trainer_state.json"), *run_dir.glob("checkpoint-*/trainer_state.json")]
    states = [json.loads(path.read_text()) for path in paths]
    latest = max(states, key=lambda state: state["global_step"], default=None)
    entries = latest["log_history"] if latest else list(_tensorboard_entries(run_dir))
    if not entries:
        raise FileNotFoundError(
            f"No log in {run_dir}: neither trainer_state.json, nor a checkpoint, nor TensorBoard's event files."
        )
    # Training and evaluation are logged in separate entries for the same step, and a resumed run logs some steps a
    # second time: `last` takes each metric's latest value. Some entries hold texts, which become NaN.
    return pd.DataFrame(entries).groupby("step").last().apply(pd.to_numeric, errors="coerce").sort_index()


def _tensorboard_entries(run_dir: Path) -> Iterator[dict[str, Any]]:
    for folder in sorted({path.parent for path in run_dir.rglob("events.out.tfevents*")}):
        try:
            from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        except ImportError as error:
            raise ImportError(
                f"{run_dir} has only TensorBoard's files; `pip install tensorboard` to read them."
            ) from error
        # 0 keeps every scalar; by default a long run would be thinned out to a random sample.
        events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
        for tag in events.Tags()["scalars"]:
            # transformers logs `eval_reward` as `eval/reward`, and all else under `train/`.
            split, _, name = tag.partition("/")
            if split in ("train", "eval"):
                metric = name if split == "train" else f"eval_{name}"
                for event in events.Scalars(tag):
                    yield {"step": event.step, metric: event.value}


def curve(log: pd.DataFrame, metric: str, *, window: int = 1) -> pd.DataFrame:
    """`mean`, `low` and `high` of a metric by step: a 95 % interval of the mean, NaN where its width is unknown.

    In training, the mean of the `window` logged values around each step, with their standard error, as if they were
    independent. In evaluation, each value, with the standard error from its `_std` and the number of prompts:
    completions of one prompt are not independent, and count as one.
    """
    values = log[metric].dropna()
    if metric.startswith("eval_"):
        # The log does not say how many prompts were evaluated; time and speed do. Missing columns make it all NaN.
        std, seconds, speed = (
            log.get(name, default=pd.Series(math.nan, index=log.index)).loc[values.index]
            for name in (f"{metric}_std", "eval_runtime", "eval_samples_per_second")
        )
        mean, error = values, std / (seconds * speed).round().clip(lower=1) ** 0.5
    else:
        # Centered, since a trailing mean would show everything half a window late.
        rolled = values.rolling(window, min_periods=1, center=True)
        mean, error = rolled.mean(), rolled.std() / rolled.count() ** 0.5
    return pd.DataFrame({"mean": mean, "low": mean - 1.96 * error, "high": mean + 1.96 * error})


def plot_runs(run_dirs: Sequence[Path | str], out: Path | str | None = None, *, window: int = 10) -> list[Path]:
    """Plot runs on shared axes: one file per metric that any of them logged, and an overview of all.

    Args:
        out: Folder for the files; by default `plots` in the first run's.
        window: Number of logged steps in a train curve's mean and interval.

    Raises:
        FileNotFoundError: A folder holds no log.
        ImportError: matplotlib is missing.
    """
    logs = dict(zip(_legend_names(run_dirs), map(read_log, run_dirs), strict=True))
    folder = Path(out) if out is not None else Path(run_dirs[0]) / "plots"
    folder.mkdir(parents=True, exist_ok=True)
    panels = [panel for panel in PANELS if any(panel.metric in log for log in logs.values())]
    written = []
    for name, shown in [*((panel.name, [panel]) for panel in panels), ("overview", panels)]:
        columns = 2 if len(shown) > 1 else 1
        rows = math.ceil(len(shown) / columns)
        figure, axes = new_figure(rows, columns, size=(6.5 * columns, 4 * rows))
        for one, panel in zip(axes.flat, shown, strict=False):
            draw(one, panel, logs, window=window)
        for one in axes.flat[len(shown) :]:
            one.set_axis_off()
        written += save(figure, folder / name)
    return written


def draw(axes: Any, panel: Panel, logs: Mapping[str, pd.DataFrame], *, window: int) -> None:
    """Draw one metric of all runs, with single values as a thin line where the curve is a mean over steps."""
    for index, (name, log) in enumerate(logs.items()):
        # By index, so that a run that lacks a metric does not shift the colors of those after it.
        style: Any = {"color": f"C{index}"}
        if panel.metric not in log or log[panel.metric].isna().all():
            continue
        drawn = curve(log, panel.metric, window=window)
        axes.plot(drawn["mean"], label=escape_label(name), marker="o" if len(drawn) < 12 else None, ms=3, **style)
        low, high = (drawn[end].clip(*panel.bounds) for end in ("low", "high"))
        axes.fill_between(drawn.index, low, high, alpha=0.18, lw=0, **style)
        if window > 1 and not panel.metric.startswith("eval_"):
            axes.plot(log[panel.metric].dropna(), alpha=0.4, lw=0.7, **style)
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
        raise ImportError(f"Plots need matplotlib: {install_hint('plots')}") from error
    # Not `pyplot`, which picks a window system and keeps every figure in memory.
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


def escape_label(text: str, *, max_length: int = 24) -> str:
    """Text as a matplotlib label: on one line, no longer than `max_length`, and never read as a formula."""
    # matplotlib's own font has no wide (Chinese, Japanese, Korean) letters and would draw empty boxes.
    is_drawable = text.isprintable() and not any(east_asian_width(letter) in "WF" for letter in text)
    label = text if is_drawable else ascii(text)[1:-1]
    label = label if len(label) <= max_length else label[: max_length - 1] + "…"
    # " the" and "the" are different tokens, but blanks at either end would be invisible.
    label = label if text == text.strip() else label.replace(" ", "␣")
    return label.replace("$", r"\$")


def _legend_names(run_dirs: Sequence[Path | str]) -> list[str]:
    """Names of the folders, with their parents' or as whole paths where the names alone are ambiguous."""
    paths = [Path(run_dir).resolve() for run_dir in run_dirs]
    for depth in (1, 2):
        names = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]
