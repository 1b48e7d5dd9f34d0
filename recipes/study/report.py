"""The page of a study, from its results alone."""

from collections.abc import Callable, Sequence
from math import isnan, nan

from recipes.study import report_text, tables
from recipes.study.conclusion import conclusion, count, reaches_early
from recipes.study.results import WINDOW, Results
from recipes.study.statistics import LEVEL, detectable
from recipes.study.variants import BASELINE, PAUSES, Variant


def page(results: Results, *, figures: str) -> str:
    """The page as Markdown.

    Args:
        results: The runs.
        figures: Folder of the figures, relative to the page.

    Raises:
        ValueError: Plain GRPO, with which all variants are compared, has no run yet.
    """
    if BASELINE not in results.runs:
        raise ValueError(f"There is no run of {BASELINE!r} yet, and all is compared with it; run that variant first.")
    how_soon = report_text.HOW_SOON.format(
        window=WINDOW, rollouts=f"{WINDOW * results.rollouts:,}", level=results.level
    )
    differences, curves, cross = (
        f"![{title}]({figures}/{name}.svg)"
        for title, name in (
            ("Differences over seeds", "differences"),
            ("Training accuracy", "curves"),
            ("Cross table", "cross"),
        )
    )
    sections = {
        "Conclusion": [conclusion(results)],
        "How this page is made": [report_text.INTRODUCTION],
        "Summary in figures": [summary(results)],
        "What was run": [tables.what_was_run(results), report_text.PAUSE_TOKENS.format(pauses=PAUSES)],
        "Old runs": [tables.old_runs(results), report_text.RERUNS],
        "Accuracy": [report_text.ACCURACY, differences, tables.accuracy(results)],
        "How soon": [how_soon, curves, tables.reach(results)],
        "The final models": [report_text.FINAL_MODELS, tables.final_models(results)],
        "Surrogate: density against visible": [report_text.SCORES, tables.scores(results)],
        "Trained one way, used another": [report_text.CROSS, cross, tables.cross(results)],
        "By family of puzzles": [report_text.FAMILIES, tables.families(results)],
        "What so few seeds can detect": [tables.detectable_differences(results)],
        "What this is not": [report_text.LIMITS],
        "Runs that failed": [tables.failures(results)],
    }
    texts = ["\n\n".join([f"## {title}", *parts]) for title, parts in sections.items()]
    return "\n\n".join([report_text.TITLE, *texts]) + "\n"


def summary(results: Results) -> str:
    """The findings, as sentences that follow from the results."""
    baseline, mixtures = results.named(BASELINE), results.of_kind("mixture")
    truncated = [variant for variant in results.of_kind("control") if variant.name != BASELINE]
    lines = [
        f"Plain GRPO went from {tables.number(results.start(baseline))} to {results.end(baseline).mean:.3f} "
        f"({len(results.runs[BASELINE])} seeds).",
        "Truncation alone (the matched controls) against plain GRPO: "
        + verdict(results, truncated, lambda _: BASELINE),
        "Mixtures against plain GRPO: " + verdict(results, mixtures, lambda _: BASELINE),
        "Mixtures against their matched controls: " + verdict(results, mixtures, lambda variant: variant.control),
        "Half of plain GRPO's trajectories to its final level, or fewer: "
        f"{fast(results, mixtures)} of {len(mixtures)} mixtures, {fast(results, truncated)} of {len(truncated)} "
        "truncated controls.",
        used_otherwise(results, mixtures),
        truncated_in_use(results, truncated),
        sensitivity(results),
    ]
    return "\n".join(f"- {line}" for line in lines if line)


def used_otherwise(results: Results, mixtures: Sequence[Variant]) -> str:
    """Whether models trained with mixtures do better without them."""
    if not mixtures:
        return ""
    ends = [results.end(variant).mean for variant in mixtures]
    controls = [results.end(variant, sampler=variant.control).mean for variant in mixtures]
    ordinary = [results.end(variant, sampler=BASELINE).mean for variant in mixtures]
    gains, plain = ([other - end for other, end in zip(others, ends, strict=True)] for others in (controls, ordinary))
    return (
        "Models trained with mixtures and used without: with ordinary tokens from the sampler's support, "
        f"{sum(gain > 0 for gain in gains)} of {len(gains)} are better than with their mixture, on average by "
        f"{sum(gains) / len(gains):+.3f}; with ordinary sampling {sum(gain > 0 for gain in plain)}, by "
        f"{sum(plain) / len(plain):+.3f}."
    )


def truncated_in_use(results: Results, truncated: Sequence[Variant]) -> str:
    """Whether truncation pays in training or at inference."""
    tried = [variant for variant in truncated if not isnan(results.crossed(variant, BASELINE))]
    baseline = results.named(BASELINE)
    if not tried or isnan(results.crossed(baseline, BASELINE)):
        return ""
    at_inference, in_both = (
        sum(results.crossed(trained or variant, variant.name) for variant in tried) / len(tried)
        for trained in (baseline, None)
    )
    return (
        f"Truncation at inference alone: plain GRPO's model, used under the {len(tried)} truncations, has "
        f"{at_inference:.3f} on average, models that were also trained under them {in_both:.3f} (cross table: few "
        "seeds, one completion per item)."
    )


def sensitivity(results: Results) -> str:
    """The least difference that this many seeds can detect."""
    if results.seeds == 1:
        return "One seed cannot say how certain any of this is."
    fewest = max(2, min(len(results.runs[variant.name]) for variant in results.variants))
    least = detectable(fewest, variants=len(results.variants)) * results.pooled_std.std
    return (
        f"{fewest} seeds detect a true difference of {least:.3f} between two variants, on these items, four times in "
        "five, and smaller ones less often; this is before adjusting for the number of variants."
    )


def verdict(results: Results, variants: Sequence[Variant], other: Callable[[Variant], str]) -> str:
    """How many variants are significantly above or below their counterparts, the extremes, and the average."""
    if not variants:
        return "no runs yet."
    compared, counted = results.against(variants, other), count(results, variants, other)
    ranked = sorted(variants, key=lambda variant: compared[variant.name][0].mean)
    worst, best = (f"`{each.name}` ({tables.signed(compared[each.name])[0]})" for each in (ranked[0], ranked[-1]))
    average = tables.signed((results.average(variants, other), nan))[0]
    return (
        f"of {len(variants)}, {counted.above} above and {counted.below} below at an adjusted p < {LEVEL:g}; from "
        f"{worst} to {best}; on average {average}."
    )


def fast(results: Results, variants: Sequence[Variant]) -> int:
    """How many variants reach plain GRPO's final level with half its trajectories."""
    return sum(reaches_early(results, variant) for variant in variants)
