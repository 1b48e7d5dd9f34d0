"""The figures of a study: differences, training curves, and the cross table."""

import math
from pathlib import Path
from typing import Any

from mot_trl.traces.learning_curves import new_figure
from recipes.study.results import WINDOW, Results
from recipes.study.tables import cross_accuracies
from recipes.study.variants import BASELINE, samplers

COLUMNS = 4
GRAY, BLACK = "0.6", "0.1"


def draw_all(results: Results, folder: Path) -> list[Path]:
    """Write all figures as SVG; equal results give equal bytes.

    Raises:
        ImportError: matplotlib is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = {"differences": differences(results), "curves": curves(results), "cross": cross(results)}
    return [save(figure, folder / f"{name}.svg") for name, figure in made.items()]


def differences(results: Results) -> Any:
    """Each variant's difference from plain GRPO and from its matched control, with its interval and single seeds."""
    variants = [variant for variant in results.variants if variant.name != BASELINE]
    figure, axes = new_figure(1, 2, size=(11, 0.26 * len(variants) + 1.2))
    colors = {"control": BLACK, "pause": BLACK, "mixture": "C0", "score": "C1"}
    for one, title in zip(axes[0], ("minus plain GRPO", "minus matched control"), strict=True):
        for place, variant in enumerate(variants):
            other = BASELINE if one is axes[0][0] else variant.control
            if other == variant.name:
                continue
            found, seeds = results.minus(variant, other), results.paired(variant, other)
            one.plot(seeds, [place] * len(seeds), "|", color=colors[variant.kind], alpha=0.5, ms=6)
            half = 0 if math.isnan(found.half) else found.half
            one.errorbar(found.mean, place, xerr=half, fmt="o", color=colors[variant.kind], ms=4, lw=1)
        one.axvline(0, color=GRAY, lw=1)
        one.set(title=f"Accuracy, {title}", ylim=(len(variants) - 0.5, -0.5))
        names = [variant.name if one is axes[0][0] else "" for variant in variants]
        one.set_yticks(range(len(variants)), names)
    return figure


def curves(results: Results) -> Any:
    """Training accuracy of each mixture, its matched control and plain GRPO."""
    variants = results.of_kind("mixture")
    rows = max(1, math.ceil(len(variants) / COLUMNS))
    figure, axes = new_figure(rows, COLUMNS, size=(3.2 * COLUMNS, 2.5 * rows))
    for one, variant in zip(axes.flat, variants, strict=False):
        for name, style in {BASELINE: (GRAY, "-"), variant.control: (BLACK, "--"), variant.name: ("C0", "-")}.items():
            color, line = style
            found = results.curves(results.named(name))
            steps = [(WINDOW + step) * results.rollouts for step in range(len(found[0]) if found else 0)]
            for curve in found if name == variant.name else []:
                one.plot(steps, curve, color=color, alpha=0.3, lw=0.6)
            if steps:
                mean = [sum(values) / len(values) for values in zip(*found, strict=True)]
                one.plot(steps, mean, line, color=color, lw=1.4, label=name)
        one.axhline(results.level, color=GRAY, lw=0.6, ls=":")
        one.set(title=variant.name, ylim=(0, 1))
        one.legend(frameon=False, fontsize=7, loc="lower right")
    for one in list(axes.flat)[len(variants) :]:
        one.set_axis_off()
    figure.supxlabel("trajectories")
    return figure


def cross(results: Results) -> Any:
    """The cross table as an image."""
    rows, names = cross_accuracies(results), list(samplers())
    figure, axes = new_figure(1, 1, size=(0.34 * len(names) + 3, 0.22 * len(rows) + 3))
    one = axes[0][0]
    if rows:
        shares = [[found.get(sampler, math.nan) for sampler in names] for _, found in rows.values()]
        picture = one.imshow(shares, vmin=0, vmax=1, aspect="auto", cmap="viridis", interpolation="nearest")
        figure.colorbar(picture, ax=one, label="accuracy")
        places = list(enumerate(own for own, _ in rows.values()))
        one.plot(
            [names.index(own) for _, own in places], [place for place, _ in places], "s", mfc="none", mec="w", ms=7
        )
    one.grid(visible=False)
    one.set_xticks(range(len(names)), names, rotation=90)
    one.set_yticks(range(len(rows)), list(rows))
    one.set(xlabel="used", ylabel="trained")
    return figure


def save(figure: Any, path: Path) -> Path:
    """Write a figure without a date or random ids in it."""
    from matplotlib import rc_context

    with rc_context({"svg.hashsalt": path.stem, "svg.fonttype": "none"}):
        figure.savefig(path, metadata={"Date": None})
    return path
