"""The conclusion of a study in ten plain sentences, whose numbers and turns come from its results."""

from collections.abc import Callable, Iterator, Sequence
from math import isnan
from typing import NamedTuple

from recipes.study import tables
from recipes.study.results import Results
from recipes.study.statistics import LEVEL
from recipes.study.variants import BASELINE, PAUSED, PAUSES, Variant


class Count(NamedTuple):
    """How many variants differ from their counterparts by more than chance explains, and by how much all do."""

    above: int
    below: int
    average: float


def conclusion(results: Results) -> str:
    """The conclusion as a numbered list; what has no run yet is left out."""
    mixtures = results.of_kind("mixture")
    truncated = [variant for variant in results.of_kind("control") if variant.name != BASELINE]
    sentences = [
        baseline(results),
        *(on_mixtures(results, mixtures) if mixtures else ()),
        *(on_truncation(results, truncated) if truncated else ()),
        *on_scores(results),
        *on_pauses(results),
        "This is one model of a million parameters on puzzles of a line. It says nothing about large models, where a "
        "mixture of two words may act otherwise than one of two digits.",
    ]
    return "\n".join(f"{number}. {sentence}" for number, sentence in enumerate(sentences, 1))


def baseline(results: Results) -> str:
    """What plain GRPO reaches."""
    plain, given = results.named(BASELINE), results.settings
    counts = [len(results.runs[variant.name]) for variant in results.variants]
    seeds = " to ".join(str(count) for count in sorted({min(counts), max(counts)}))
    start, end = percent(results.start(plain)), percent(results.end(plain).mean)
    return (
        f"Plain GRPO, which thinks in ordinary tokens, takes the model from {start} to {end} of the held-out puzzles "
        f"in {given['steps'] * results.rollouts:,} rollouts. Everything is compared with that, on {seeds} seeds."
    )


def on_mixtures(results: Results, mixtures: Sequence[Variant]) -> Iterator[str]:
    """Whether mixtures help, what the best one owes to mixing, whether they learn sooner, and how to use them."""
    plain, matched = (count(results, mixtures, other) for other in (lambda _: BASELINE, lambda each: each.control))
    yield (
        f"Thinking in mixtures {'helps' if plain.average > 0 else 'does not help'} here: of {len(mixtures)} mixtures, "
        f"{plain.above} end above plain GRPO and {plain.below} below by more than chance explains; on average they "
        f"are {points(plain.average)}."
    )
    yield (
        f"The fair comparison is with ordinary tokens drawn from the same candidates: there, {matched.above} mixtures "
        f"are better, {matched.below} worse, and on average they are {points(matched.average)}."
    )
    best = max(mixtures, key=lambda variant: results.end(variant).mean)
    own, control = results.end(best).mean, results.end(results.named(best.control)).mean
    owed = (
        "the candidates explain what it gains, not the mixing" if control >= own else "mixing adds to the candidates"
    )
    yield (
        f"The best mixture, `{best.name}`, ends at {percent(own)}, ordinary tokens from its candidates at "
        f"{percent(control)}: {owed}."
    )
    sooner = sum(reaches_early(results, variant) for variant in mixtures)
    yield (
        f"Mixtures {'often' if sooner > len(mixtures) / 2 else 'seldom'} learn sooner: {sooner} of {len(mixtures)} "
        "reach plain GRPO's final level with half its rollouts."
    )
    gains = [results.end(each, sampler=each.control).mean - results.end(each).mean for each in mixtures]
    better = sum(gain > 0 for gain in gains)
    yield (
        f"After training, {better} of {len(mixtures)} models do better with ordinary tokens from those candidates "
        "than with the mixtures that they were trained with; on average they are then "
        f"{points(sum(gains) / len(gains))}."
    )


def on_truncation(results: Results, truncated: Sequence[Variant]) -> Iterator[str]:
    """Whether leaving out unlikely tokens helps, without any mixture."""
    found = count(results, truncated, lambda _: BASELINE)
    best = max(truncated, key=lambda variant: results.end(variant).mean)
    yield (
        f"Leaving out unlikely tokens {'helps' if found.average > 0 else 'does not help'} without any mixture: of "
        f"{len(truncated)} such samplers, {found.above} end above plain GRPO and {found.below} below; the best, "
        f"`{best.name}`, ends at {percent(results.end(best).mean)}."
    )


def on_scores(results: Results) -> Iterator[str]:
    """Whether the visible token or the whole draw is the better score."""
    pairs = list(tables.by_score(results).values())
    if not pairs:
        return
    old = sum(each["visible"].name in results.old for each in pairs)
    found = count(results, [each["visible"] for each in pairs], tables.density_of(results))
    yield (
        f"Scoring the visible token alone {'beats' if found.average > 0 else 'does not beat'} scoring the whole draw: "
        f"of {len(pairs)} samplers trained with both, {found.above} are better with the visible token and "
        f"{found.below} worse; on average they are {points(found.average)}."
        + (f" {old} of them were last trained with an older score of that token." if old else "")
    )


def on_pauses(results: Results) -> Iterator[str]:
    """What remains of thinking when its tokens are fixed."""
    if PAUSED not in results.runs:
        return
    paused = results.named(PAUSED)
    ((difference, adjusted),) = results.against([paused], lambda _: BASELINE).values()
    meaning = "the difference may be chance"
    if adjusted < LEVEL:
        meaning = "the steps alone do not help" if difference.mean < 0 else "the steps alone help"
    start, end = percent(results.start(paused)), percent(results.end(paused).mean)
    yield (
        f"Steps alone: with {PAUSES} fixed tokens fed as the thoughts, as many steps as plain GRPO ends with, and "
        f"only the answer learned, the model goes from {start} to {end}; {meaning}."
    )


def count(results: Results, variants: Sequence[Variant], other: Callable[[Variant], str]) -> Count:
    """How many variants are significantly above and below their counterparts (Holm), and the mean difference."""
    significant = [found.mean for found, adjusted in results.against(variants, other).values() if adjusted < LEVEL]
    above, below = sum(mean > 0 for mean in significant), sum(mean < 0 for mean in significant)
    return Count(above, below, results.average(variants, other).mean)


def reaches_early(results: Results, variant: Variant) -> bool:
    """Whether plain GRPO's final level takes half of plain GRPO's rollouts, or fewer."""
    return results.reached_median(variant)[0] <= results.reached_median(results.named(BASELINE))[0] / 2


def percent(share: float) -> str:
    """A share in percent."""
    return "an unknown share" if isnan(share) else f"{100 * share:.0f} %"


def points(difference: float) -> str:
    """A difference in percentage points, in words."""
    return f"{abs(100 * difference):.1f} points {'better' if difference > 0 else 'worse'}"
