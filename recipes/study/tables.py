"""The tables of a study's page."""

from collections.abc import Callable
from math import inf, isfinite, isnan, sqrt

from mot_trl.evaluation.report import cell, markdown_table
from mot_trl.evaluation.statistics import Estimate
from recipes.study.results import Results
from recipes.study.statistics import Difference, detectable
from recipes.study.variants import BASELINE, Variant, sampler_of, samplers, study_variants, untrained_variant

SEED_COUNTS = (2, 3, 5, 8, 10)


def what_was_run(results: Results) -> str:
    """The settings in words, the progress of the study, and the learning rates tried."""
    given = results.settings
    done = sum(len(results.runs[variant.name]) for variant in results.variants)
    text = (
        f"{len(results.variants)} of {len(study_variants())} variants, {done} runs so far. Each run: {given['steps']} "
        f"steps of {given['prompts']} new prompts x {given['generations']} completions of at most "
        f"{given['max_new_tokens']} tokens; AdamW at a constant {given['learning_rate']:g}, otherwise TRL's defaults "
        f"for GRPO; temperature 1; one thread. Evaluated on {given['items']} held-out items x {given['samples']} "
        f"completions, from the test split, with the families ({', '.join(given['tasks'])}) in turn."
    )
    if not results.tuned:
        return text
    rows = [[f"{variant.learning_rate:g}", cell(results.end(variant))] for variant in results.tuned]
    tuning = "The learning rate was chosen for plain GRPO alone, with a seed outside the study:"
    return f"{text}\n\n{tuning}\n\n" + markdown_table(["learning rate", "end"], rows)


def accuracy(results: Results) -> str:
    """Every variant against plain GRPO and against its matched control."""
    others = [variant for variant in results.variants if variant.name != BASELINE]
    mixed = results.of_kind("mixture", "score")
    to_baseline = results.against(others, lambda _: BASELINE)
    to_control = results.against(mixed, lambda variant: variant.control)
    rows = [
        [
            label(results, variant),
            variant.settings.mixture_score if variant in mixed else "",
            str(len(results.runs[variant.name])),
            number(results.start(variant)),
            cell(results.end(variant)),
            number(results.std(variant)),
            *signed(to_baseline.get(variant.name)),
            f"`{variant.control}`" if variant in mixed else "",
            *signed(to_control.get(variant.name)),
        ]
        for variant in results.variants
    ]
    header = ["variant", "surrogate", "seeds", "start", "end", "std", "minus baseline", "p"]
    return markdown_table([*header, "matched control", "minus control", "p"], rows)


def reach(results: Results) -> str:
    """Trajectories and seconds until plain GRPO's final level."""
    base = results.reached_median(results.named(BASELINE))
    rows = []
    for variant in results.variants:
        reached, (trajectories, seconds) = results.reached(variant), results.reached_median(variant)
        own_control = results.reached_median(results.named(variant.control))
        rows.append(
            [
                f"`{variant.name}`",
                f"{sum(isfinite(each[0]) for each in reached)} of {len(reached)}",
                whole(trajectories),
                ratio(trajectories, base[0]),
                ratio(trajectories, own_control[0]) if variant.kind in ("mixture", "score") else "",
                whole(seconds),
                ratio(seconds, base[1]),
            ]
        )
    header = ["variant", "reached by", "trajectories", "/ baseline", "/ control", "seconds", "/ baseline"]
    return markdown_table(header, rows)


def final_models(results: Results) -> str:
    """Properties of each variant's final checkpoints."""
    most = min(8, results.samples)
    rows = []
    for variant in results.variants:
        runs = results.of_variant(variant)
        first, last = (sum(run["candidates"][end] for run in runs) / len(runs) for end in (0, 1))
        rows.append(
            [
                f"`{variant.name}`",
                cell(results.end(variant)),
                cell(results.end(variant, k=most)),
                number(results.end(variant, sampler=BASELINE).mean),
                number(results.end(variant, sampler=variant.control).mean),
                f"{results.mean(variant, 'thinking'):.1f}",
                number(1 - results.mean(variant, "closed")),
                f"{first:.2f}, {last:.2f}",
                f"{sum(run['seconds'][-1] for run in runs) / len(runs):.0f}",
            ]
        )
    header = ["variant", "pass@1", f"pass@{most}", "ordinary sampling", "control's sampler", "thinking, tokens"]
    return markdown_table([*header, "never closed", "candidates", "seconds"], rows)


def scores(results: Results) -> str:
    """Each sampler that was trained with several surrogates, under each."""
    several = by_score(results)
    if not several:
        return "No sampler has runs with both surrogates yet."
    compared = results.against([variants["visible"] for variants in several.values()], density_of(results))
    rows = []
    for name, variants in several.items():
        ends = (variants.get(surrogate) for surrogate in ("density", "visible", "expected"))
        cells = ["" if variant is None else cell(results.end(variant)) for variant in ends]
        old = " (old)" if any(variant.name in results.old for variant in variants.values()) else ""
        rows.append([f"`{name}`{old}", *cells, *signed(compared[variants["visible"].name])])
    return markdown_table(["sampler", "density", "visible", "expected", "visible minus density", "p"], rows)


def by_score(results: Results) -> dict[str, dict[str, Variant]]:
    """The variants of each sampler that was trained with both `density` and `visible`, by surrogate."""
    found: dict[str, dict[str, Variant]] = {}
    for variant in results.of_kind("mixture", "score"):
        found.setdefault(_preset(variant), {})[variant.settings.mixture_score] = variant
    return {name: variants for name, variants in found.items() if {"density", "visible"} <= set(variants)}


def density_of(results: Results) -> Callable[[Variant], str]:
    """For a variant in `by_score`, the name of the same sampler's that was trained with `density`."""
    found = by_score(results)
    return lambda variant: found[_preset(variant)]["density"].name


def cross(results: Results) -> str:
    """Accuracy of all pairs of training and inference samplers that were tried, in percent."""
    rows = cross_accuracies(results)
    if not rows:
        return "No run has been evaluated under every sampler yet."
    numbers = {sampler: str(number) for number, sampler in enumerate(samplers(), 1)}
    cells = []
    for variant, (own, shares) in rows.items():
        percents = {sampler: "-" if isnan(share) else f"{100 * share:.0f}" for sampler, share in shares.items()}
        cells.append([f"`{variant}`", *(f"**{text}**" if name == own else text for name, text in percents.items())])
    legend = "; ".join(f"{number}: `{sampler}`" for sampler, number in numbers.items())
    return markdown_table(["trained, used", *numbers.values()], cells) + f"\n\nColumns: {legend}."


def cross_accuracies(results: Results) -> dict[str, tuple[str, dict[str, float]]]:
    """By variant evaluated under every sampler: the name of its own, and the mean accuracy under each."""
    rows = {}
    for variant in [untrained_variant(), *results.variants]:
        if any("cross" in run for run in results.of_variant(variant)):
            # NaN where a file was begun before a sampler was added.
            shares = {sampler: results.crossed(variant, sampler) for sampler in samplers()}
            rows[variant.name] = (sampler_of(variant.settings), shares)
    return rows


def families(results: Results) -> str:
    """Accuracy by family of puzzles."""
    tasks = results.settings["tasks"]
    rows = [
        [f"`{variant.name}`", *(f"{100 * results.end(variant, family=task).mean:.0f}" for task in tasks)]
        for variant in results.variants
    ]
    return markdown_table(["variant", *tasks], rows)


def detectable_differences(results: Results) -> str:
    """The least differences that numbers of seeds can detect, given the observed standard deviations."""
    alone, paired, variants = results.pooled_std.std, results.paired_std.std, len(results.variants)
    if isnan(alone):
        return "One seed has no standard deviation, so nothing can be said yet."
    rows = [
        [
            str(seeds),
            number(detectable(seeds, paired=True) * paired),
            number(detectable(seeds) * alone),
            number(detectable(seeds, variants=variants) * alone),
        ]
        for seeds in SEED_COUNTS
    ]
    text = (
        f"Between seeds, the accuracy of one variant has a standard deviation of {alone:.3f}, and its difference from "
        f"plain GRPO with the same seed one of {paired:.3f} (pooled over variants); for unrelated runs it would be "
        f"{sqrt(2) * alone:.3f}. The table gives the least true difference of two variants that a two-sided t-test at "
        "the 5 % level detects with 80 % power on these items: paired by seed; unpaired; and unpaired with a standard "
        f"deviation pooled over all {variants} variants, as in the tables above. Adjusting for the number of variants "
        "requires larger differences, and so does generalizing to other items."
    )
    return f"{text}\n\n" + markdown_table(["seeds", "paired", "unpaired", "pooled"], rows)


def old_runs(results: Results) -> str:
    """The variants whose runs are older than what they are said to measure, and why."""
    if not results.old:
        return "No variant has runs of an older score."
    return "\n".join(f"- `{name}`: {reason}" for name, reason in results.old.items())


def failures(results: Results) -> str:
    """The runs that raised, with their errors."""
    if not results.failed:
        return "None."
    return "\n".join(f"- `{run['variant']}`, seed {run['seed']}: {run['error']}" for run in results.failed)


def label(results: Results, variant: Variant) -> str:
    """A variant's name in a table, marked if its runs are old."""
    return f"`{variant.name}`" + (" (old)" if variant.name in results.old else "")


def signed(compared: tuple[Difference, float] | None) -> list[str]:
    """A difference with its interval, and its adjusted p-value."""
    if compared is None:
        return ["", ""]
    found, adjusted = compared
    low, high = found.mean - found.half, found.mean + found.half
    text = number(found.mean, sign="+") if isnan(found.half) else cell(Estimate(found.mean, low, high), signed=True)
    return [text, f"{adjusted:.2g}" if isfinite(adjusted) else "-"]


def number(value: float, *, sign: str = "") -> str:
    """A value with three decimals, or `-` where there is none."""
    return f"{value:{sign}.3f}" if isfinite(value) else "-"


def whole(value: float) -> str:
    """A count, or `never` where it is infinite."""
    return "never" if value == inf else "-" if isnan(value) else f"{value:,.0f}"


def ratio(value: float, base: float) -> str:
    """A ratio, or `-` where either value is unknown."""
    return f"{value / base:.2f}" if isfinite(value) and isfinite(base) and base > 0 else "-"


def _preset(variant: Variant) -> str:
    """The name without the surrogate that `study_variants` appends."""
    return variant.name.split(", ")[0]
