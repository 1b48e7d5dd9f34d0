"""The page of a study, from its lines alone."""

from collections.abc import Callable, Sequence
from math import isnan, nan

from recipes.study import report_text as prose
from recipes.study import tables
from recipes.study.arms import PLAIN, Arm
from recipes.study.results import WINDOW, Results
from recipes.study.statistics import LEVEL, detectable


def page(results: Results, *, figures: str) -> str:
    """The page as Markdown.

    Args:
        results: The runs.
        figures: Folder of the figures, as seen from the page.

    Raises:
        ValueError: Plain GRPO, which all is compared with, has no run yet.
    """
    if PLAIN not in results.runs:
        raise ValueError(f"There is no run of {PLAIN!r} yet, and all is compared with it; run that arm first.")
    how_soon = prose.HOW_SOON.format(window=WINDOW, rollouts=f"{WINDOW * results.rollouts:,}", level=results.level)
    sections = {
        "In short": [summary(results)],
        "What was run": [tables.what_was_run(results)],
        "Accuracy": [
            prose.ACCURACY,
            f"![Differences over seeds]({figures}/differences.svg)",
            tables.accuracy(results),
        ],
        "How soon": [how_soon, f"![Training accuracy]({figures}/curves.svg)", tables.reach(results)],
        "What the models became": [prose.BECAME, tables.became(results)],
        "Score: density against visible": [prose.SCORES, tables.scores(results)],
        "Trained one way, used another": [prose.CROSS, f"![Cross table]({figures}/cross.svg)", tables.cross(results)],
        "By family of puzzles": [prose.FAMILIES, tables.families(results)],
        "What so few seeds can see": [tables.seen(results)],
        "What this is not": [prose.LIMITS],
        "Runs that failed": [tables.failures(results)],
    }
    told = ["\n\n".join([f"## {title}", *parts]) for title, parts in sections.items()]
    return "\n\n".join([prose.INTRODUCTION, *told]) + "\n"


def summary(results: Results) -> str:
    """What came out, in sentences that follow from the lines."""
    plain, mixtures = results.named(PLAIN), results.of_kind("mixture")
    truncated = [arm for arm in results.of_kind("control") if arm.name != PLAIN]
    ended, seeds = results.end(plain).mean, len(results.runs[PLAIN])
    lines = [
        f"Plain GRPO went from {tables.number(results.start(plain))} to {ended:.3f} (seeds: {seeds}).",
        "Truncation alone, plain tokens on a law's support, against plain GRPO: "
        + verdict(results, truncated, lambda _: PLAIN),
        "Mixtures against plain GRPO: " + verdict(results, mixtures, lambda _: PLAIN),
        "Mixtures against plain tokens on the same support: " + verdict(results, mixtures, lambda arm: arm.control),
        f"Half of plain GRPO's trajectories to its last level, or fewer: {soon(results, mixtures)} mixtures, "
        f"{soon(results, truncated)} truncated controls.",
    ]
    lines += [used_otherwise(results, mixtures), truncated_in_use(results, truncated)]
    if results.seeds == 1:
        lines.append("One seed cannot say how sure any of this is.")
    else:
        fewest = max(2, min(len(results.runs[arm.name]) for arm in results.arms))
        least = detectable(fewest, arms=len(results.arms)) * results.spread.deviation
        lines.append(
            f"{fewest} seeds see a true difference of {least:.3f} between two arms, on these items, four times "
            "in five, and smaller ones less often; that is before the adjustment for the number of arms."
        )
    return "\n".join(f"- {line}" for line in lines if line)


def used_otherwise(results: Results, mixtures: Sequence[Arm]) -> str:
    """Whether models that were trained in mixtures do better without them."""
    if not mixtures:
        return ""
    gains = [results.end(arm, law=arm.control).mean - results.end(arm).mean for arm in mixtures]
    plain = [results.end(arm, law=PLAIN).mean - results.end(arm).mean for arm in mixtures]
    return (
        "Models trained in mixtures and used without them: with plain tokens on the law's support "
        f"{sum(gain > 0 for gain in gains)} of {len(gains)} are better than with their mixture, on average by "
        f"{sum(gains) / len(gains):+.3f}; with ordinary sampling {sum(gain > 0 for gain in plain)}, by "
        f"{sum(plain) / len(plain):+.3f}."
    )


def truncated_in_use(results: Results, truncated: Sequence[Arm]) -> str:
    """Whether truncation pays in training or in use."""
    tried = [arm for arm in truncated if not isnan(results.crossed(arm, PLAIN))]
    plain = results.named(PLAIN)
    if not tried or isnan(results.crossed(plain, PLAIN)):
        return ""
    in_use, in_both = (
        sum(results.crossed(trained or arm, arm.name) for arm in tried) / len(tried) for trained in (plain, None)
    )
    return (
        f"Truncation in use alone: plain GRPO's model, used under the {len(tried)} truncations, has {in_use:.3f} on "
        f"average, models that were trained under them too {in_both:.3f} (cross table: few seeds, one completion an "
        "item)."
    )


def verdict(results: Results, arms: Sequence[Arm], other: Callable[[Arm], str]) -> str:
    """How many arms are above or below at an adjusted p-value below 5 %, the extremes, and the average."""
    if not arms:
        return "no runs yet."
    compared = results.against(arms, other)
    sure = [found.mean for found, adjusted in compared.values() if adjusted < LEVEL]
    above, below = sum(mean > 0 for mean in sure), sum(mean < 0 for mean in sure)
    ranked = sorted(arms, key=lambda arm: compared[arm.name][0].mean)
    worst, best = (f"`{arm.name}` ({tables.signed(compared[arm.name])[0]})" for arm in (ranked[0], ranked[-1]))
    average = tables.signed((results.average(arms, other), nan))[0]
    return (
        f"of {len(arms)}, {above} above and {below} below at an adjusted p < {LEVEL:g}; from {worst} to {best}; on "
        f"average {average}."
    )


def soon(results: Results, arms: Sequence[Arm]) -> str:
    """How many arms reach plain GRPO's last level with half its trajectories."""
    base, _ = results.reached_median(results.named(PLAIN))
    return f"{sum(results.reached_median(arm)[0] <= base / 2 for arm in arms)} of {len(arms)}"
