"""The figures of a study: differences, curves, and the cross table."""

import math
from pathlib import Path
from typing import Any

from mot_trl.traces.learning_curves import new_figure
from recipes.study.arms import PLAIN, laws
from recipes.study.results import WINDOW, Results
from recipes.study.tables import cross_shares

COLUMNS = 4
GREY, BLACK = "0.6", "0.1"


def draw_all(results: Results, folder: Path) -> list[Path]:
    """Write all figures as SVG, the same bytes for the same results.

    Raises:
        ImportError: matplotlib is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = {"differences": differences(results), "curves": curves(results), "cross": cross(results)}
    return [save(figure, folder / f"{name}.svg") for name, figure in made.items()]


def differences(results: Results) -> Any:
    """Every arm's difference from plain GRPO and from its control, with its interval and each seed."""
    arms = [arm for arm in results.arms if arm.name != PLAIN]
    figure, axes = new_figure(1, 2, size=(11, 0.26 * len(arms) + 1.2))
    colors = {"control": BLACK, "mixture": "C0", "score": "C1"}
    for one, title in zip(axes[0], ("less plain GRPO", "less plain tokens on the same support"), strict=True):
        for place, arm in enumerate(arms):
            other = PLAIN if one is axes[0][0] else arm.control
            if other == arm.name:
                continue
            found, seeds = results.minus(arm, other), results.paired(arm, other)
            one.plot(seeds, [place] * len(seeds), "|", color=colors[arm.kind], alpha=0.5, ms=6)
            half = 0 if math.isnan(found.half) else found.half
            one.errorbar(found.mean, place, xerr=half, fmt="o", color=colors[arm.kind], ms=4, lw=1)
        one.axvline(0, color=GREY, lw=1)
        one.set(title=f"Accuracy, {title}", ylim=(len(arms) - 0.5, -0.5))
        one.set_yticks(range(len(arms)), [arm.name for arm in arms] if one is axes[0][0] else [""] * len(arms))
    return figure


def curves(results: Results) -> Any:
    """Training accuracy of each mixture, of its control and of plain GRPO."""
    arms = results.of_kind("mixture")
    rows = max(1, math.ceil(len(arms) / COLUMNS))
    figure, axes = new_figure(rows, COLUMNS, size=(3.2 * COLUMNS, 2.5 * rows))
    for one, arm in zip(axes.flat, arms, strict=False):
        for name, style in {PLAIN: (GREY, "-"), arm.control: (BLACK, "--"), arm.name: ("C0", "-")}.items():
            color, line = style
            found = results.curves(results.named(name))
            steps = [(WINDOW + step) * results.rollouts for step in range(len(found[0]) if found else 0)]
            for curve in found if name == arm.name else []:
                one.plot(steps, curve, color=color, alpha=0.3, lw=0.6)
            if steps:
                mean = [sum(values) / len(values) for values in zip(*found, strict=True)]
                one.plot(steps, mean, line, color=color, lw=1.4, label=name)
        one.axhline(results.level, color=GREY, lw=0.6, ls=":")
        one.set(title=arm.name, ylim=(0, 1))
        one.legend(frameon=False, fontsize=7, loc="lower right")
    for one in list(axes.flat)[len(arms) :]:
        one.set_axis_off()
    figure.supxlabel("trajectories")
    return figure


def cross(results: Results) -> Any:
    """The cross table as a picture."""
    rows, names = cross_shares(results)
    figure, axes = new_figure(1, 1, size=(0.34 * len(names) + 3, 0.22 * len(rows) + 3))
    one = axes[0][0]
    if rows:
        shares = [[found.get(law, math.nan) for law in names] for _, found in rows.values()]
        picture = one.imshow(shares, vmin=0, vmax=1, aspect="auto", cmap="viridis", interpolation="nearest")
        figure.colorbar(picture, ax=one, label="accuracy")
        places = list(enumerate(own for own, _ in rows.values()))
        one.plot(
            [names.index(own) for _, own in places], [place for place, _ in places], "s", mfc="none", mec="w", ms=7
        )
    one.grid(visible=False)
    one.set_xticks(range(len(laws())), names, rotation=90)
    one.set_yticks(range(len(rows)), list(rows))
    one.set(xlabel="used", ylabel="trained")
    return figure


def save(figure: Any, path: Path) -> Path:
    """Write a figure without date or random names in it."""
    from matplotlib import rc_context

    with rc_context({"svg.hashsalt": path.stem, "svg.fonttype": "none"}):
        figure.savefig(path, metadata={"Date": None})
    return path
