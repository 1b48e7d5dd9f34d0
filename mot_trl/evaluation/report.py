"""Summarize arms and compare them, as JSON and as Markdown tables."""

import json
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from math import isnan
from operator import attrgetter
from typing import Any, NamedTuple

from mot_trl.evaluation.records import Sample
from mot_trl.evaluation.statistics import Comparison, Estimate, compare, estimate, majority_vote, pass_at_k


class Arm(NamedTuple):
    """The samples of a model, trained with one strategy (None if unknown), under another; sorted by item."""

    model: str
    trained: str | None
    strategy: str
    samples: list[Sample]


def summarize(arm: Arm) -> dict[str, Any]:
    """Compute an arm's figures: means over items, with 95 % bootstrap intervals over items.

    `accuracy` is the share of correct samples, `pass@k` for k = 1, 2, 4 ... and the number of samples, `majority`
    the vote's accuracy, `reward` the mean reward; lengths are in tokens; `closed`, `ended` and `answered` are shares
    of samples. Unjudged samples, whose number is `unjudged`, count in none of the first four.
    """
    items = by_item(arm.samples).values()
    # An unjudged sample is not a wrong one: a judge that was down must not lower the accuracy.
    judged = list(by_item([sample for sample in arm.samples if sample.reward is not None]).values())
    most = max(map(len, judged), default=0)
    passes = {}
    for k in sorted({*(2**power for power in range(most.bit_length())), most} - {0}):
        # Items may have lost samples to the judge; those with fewer than k say nothing about pass@k.
        enough = [samples for samples in judged if len(samples) >= k]
        passes[f"pass@{k}"] = estimate([pass_at_k(len(samples), correct(samples), k) for samples in enough])
    votes = [majority_vote([s.answer for s in samples], [s.correct for s in samples]) for samples in judged]
    return {
        "model": arm.model,
        "trained": arm.trained,
        "strategy": arm.strategy,
        "items": len(items),
        "samples": len(arm.samples),
        "unjudged": sum(sample.reward is None for sample in arm.samples),
        "accuracy": _mean(judged, attrgetter("correct")),
        **passes,
        "majority": estimate(votes),
        "reward": _mean(judged, lambda sample: sample.reward or 0.0),
        **{name: _mean(items, attrgetter(name)) for name in ("thinking_tokens", "tokens", "closed", "ended")},
        "answered": _mean(items, lambda sample: sample.answer is not None),
    }


def compare_arms(first: Arm, second: Arm) -> Comparison:
    """Compare two arms, paired by item, on the items with every sample judged in both.

    Raises:
        ValueError: The arms have different numbers of samples per item.
    """
    before, after = by_item(first.samples), by_item(second.samples)
    pairs = [(before[item], after[item]) for item in before if item in after]
    sizes = {len(samples) for pair in pairs for samples in pair}
    if len(sizes) > 1:
        raise ValueError(f"Arms with different numbers of samples per item ({sorted(sizes)}) cannot be paired.")
    # Exchanging the arms' labels is only fair where both have the same number of chances on an item.
    whole = [pair for pair in pairs if all(sample.reward is not None for samples in pair for sample in samples)]
    ones, others = ([correct(pair[side]) for pair in whole] for side in (0, 1))
    return compare(ones, others, samples=max(sizes, default=1))


def report(arms: Sequence[Arm]) -> dict[str, Any]:
    """Summarize all arms, and compare each with the first."""
    labels = [f"{arm.model}/{arm.strategy}" for arm in arms]
    comparisons = [
        {"first": labels[0], "second": label, **compare_arms(arms[0], arm)._asdict()}
        for label, arm in zip(labels[1:], arms[1:], strict=True)
    ]
    return {"arms": [summarize(arm) for arm in arms], "comparisons": comparisons}


def to_json(found: dict[str, Any]) -> str:
    """The report as JSON; an estimate is an object with `mean`, `low` and `high`, or null where there is none."""
    plain = {part: list(map(_plain, rows)) for part, rows in found.items()}
    return json.dumps(plain, indent=2, allow_nan=False) + "\n"


def to_tables(found: dict[str, Any]) -> str:
    """The report as Markdown: all arms, a cross table of accuracies if there are several models, and comparisons."""
    arms, comparisons = found["arms"], found["comparisons"]
    figures = [name for name in arms[0] if isinstance(arms[0][name], Estimate)]
    rows = [[arm["model"], arm["strategy"], str(arm["items"]), *(cell(arm.get(f)) for f in figures)] for arm in arms]
    tables = [markdown_table(["model", "strategy", "items", *figures], rows)]
    if len({arm["model"] for arm in arms}) > 1:
        strategies = list(dict.fromkeys(arm["strategy"] for arm in arms))
        models = dict.fromkeys((arm["model"], arm["trained"] or "-") for arm in arms)
        cells = {(arm["model"], arm["strategy"]): cell(arm["accuracy"]) for arm in arms}
        rows = [[*model, *(cells.get((model[0], strategy), "-") for strategy in strategies)] for model in models]
        cross = markdown_table(["model", "trained with", *strategies], rows)
        tables.append(f"Accuracy, models in rows, strategies at inference in columns:\n\n{cross}")
    if comparisons:
        rows = [
            [each["second"], cell(each["difference"], signed=True), f"{each['p_value']:.3g}", str(each["items"])]
            for each in comparisons
        ]
        tables.append(markdown_table([f"against {comparisons[0]['first']}", "accuracy", "p", "items"], rows))
    return "\n\n".join(tables) + "\n"


def by_item(samples: Sequence[Sample]) -> dict[int, list[Sample]]:
    """Group samples by item, by which they are sorted."""
    return {item: list(group) for item, group in groupby(samples, key=attrgetter("item"))}


def correct(samples: Sequence[Sample]) -> int:
    """Count the correct samples."""
    return sum(sample.correct for sample in samples)


def _mean(items: Iterable[list[Sample]], value: Callable[[Sample], float]) -> Estimate:
    return estimate([sum(map(value, samples)) / len(samples) for samples in items])


def cell(value: Estimate | None, *, signed: bool = False) -> str:
    """An estimate with its interval, or `-` where there is none."""
    if value is None or isnan(value.mean):
        return "-"
    # Values of 10 and more are lengths in tokens, which need no thousandths.
    form = "+.3f" if signed else ".1f" if abs(value.mean) >= 10 else ".3f"
    return f"{value.mean:{form}} [{value.low:{form}}, {value.high:{form}}]"


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, ["---"] * len(header), *rows))


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    # JSON has no NaN, and `json` would write a NamedTuple as a list without names.
    estimates = {name: value for name, value in row.items() if isinstance(value, Estimate)}
    return row | {name: None if isnan(value.mean) else value._asdict() for name, value in estimates.items()}
