"""Summarize arms and compare them, as JSON and as Markdown tables."""

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from math import isnan
from operator import attrgetter
from typing import Any, NamedTuple

from mot_trl.evaluation.records import Sample
from mot_trl.evaluation.statistics import Comparison, Estimate, compare, estimate, majority_vote, pass_at_k


class Arm(NamedTuple):
    """The samples of one model under one strategy.

    Attributes:
        model: The model's label.
        trained: The strategy it was trained with, None if unknown.
        strategy: Label of the strategy at inference.
        samples: Sorted by item and sample.
    """

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
    items = by_item(arm.samples)
    # An unjudged sample is not a wrong one: a judge that was down must not lower the accuracy.
    judged = [[sample for sample in samples if sample.reward is not None] for samples in items.values()]
    judged = [samples for samples in judged if samples]
    most = max(map(len, judged), default=0)
    # Items may have lost samples to the judge; those with fewer than k say nothing about pass@k.
    passes = {
        f"pass@{k}": estimate(
            [pass_at_k(len(samples), correct(samples), k) for samples in judged if len(samples) >= k]
        )
        for k in sorted({*(2**power for power in range(most.bit_length())), most} - {0})
    }
    votes = [majority_vote([s.answer for s in samples], [s.correct for s in samples]) for samples in judged]
    return {
        "model": arm.model,
        "trained": arm.trained,
        "strategy": arm.strategy,
        "items": len(items),
        "samples": len(arm.samples),
        "unjudged": sum(sample.reward is None for sample in arm.samples),
        "accuracy": estimate([correct(samples) / len(samples) for samples in judged]),
        **passes,
        "majority": estimate(votes),
        "reward": _mean(judged, lambda sample: sample.reward or 0.0),
        **{name: _mean(items.values(), attrgetter(name)) for name in ("thinking_tokens", "tokens", "closed", "ended")},
        "answered": _mean(items.values(), lambda sample: sample.answer is not None),
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
    counts = [(correct(one), correct(other)) for one, other in whole]
    return compare([a for a, _ in counts], [b for _, b in counts], samples=max(sizes, default=1))


def report(arms: Sequence[Arm]) -> dict[str, Any]:
    """Summarize all arms, and compare each with the first."""
    comparisons = [
        {"first": label(arms[0]), "second": label(arm), **compare_arms(arms[0], arm)._asdict()} for arm in arms[1:]
    ]
    return {"arms": [summarize(arm) for arm in arms], "comparisons": comparisons}


def to_json(found: dict[str, Any]) -> str:
    """The report as JSON; an estimate is an object with `mean`, `low` and `high`, or null where there is none."""
    return json.dumps(_plain(found), indent=2, allow_nan=False) + "\n"


def to_tables(found: dict[str, Any]) -> str:
    """The report as Markdown: all arms, a cross table of accuracies if there are several models, and comparisons."""
    arms, comparisons = found["arms"], found["comparisons"]
    figures = [name for name in arms[0] if isinstance(arms[0][name], Estimate)]
    header = ["model", "strategy", "items", *figures]
    rows = [
        [arm["model"], arm["strategy"], str(arm["items"]), *(cell(arm.get(name)) for name in figures)] for arm in arms
    ]
    tables = [markdown_table(header, rows)]
    if len({arm["model"] for arm in arms}) > 1:
        tables.append("Accuracy, models in rows, strategies at inference in columns:\n\n" + _cross(arms))
    if comparisons:
        rows = [
            [each["second"], cell(each["difference"], signed=True), f"{each['p_value']:.3g}", str(each["items"])]
            for each in comparisons
        ]
        tables.append(markdown_table([f"against {comparisons[0]['first']}", "accuracy", "p", "items"], rows))
    return "\n\n".join(tables) + "\n"


def label(arm: Arm) -> str:
    """Model and strategy of an arm, as one word."""
    return f"{arm.model}/{arm.strategy}"


def by_item(samples: Sequence[Sample]) -> dict[int, list[Sample]]:
    """Group samples by item."""
    items: defaultdict[int, list[Sample]] = defaultdict(list)
    for sample in samples:
        items[sample.item].append(sample)
    return dict(items)


def correct(samples: Sequence[Sample]) -> int:
    """Count the correct samples."""
    return sum(sample.correct for sample in samples)


def _mean(items: Any, value: Callable[[Sample], float]) -> Estimate:
    return estimate([sum(map(value, samples)) / len(samples) for samples in items])


def _cross(arms: list[dict[str, Any]]) -> str:
    strategies = list(dict.fromkeys(arm["strategy"] for arm in arms))
    cells: defaultdict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for arm in arms:
        cells[arm["model"], arm["trained"] or "-"][arm["strategy"]] = cell(arm["accuracy"])
    rows = [[*row, *(found.get(strategy, "-") for strategy in strategies)] for row, found in cells.items()]
    return markdown_table(["model", "trained with", *strategies], rows)


def cell(value: Estimate | None, *, signed: bool = False) -> str:
    """An estimate with its interval, or `-` where there is none."""
    if value is None or isnan(value.mean):
        return "-"
    # Values of 10 and more are lengths in tokens, which need no thousandths.
    form = "+.3f" if signed else ".1f" if abs(value.mean) >= 10 else ".3f"
    return f"{value.mean:{form}} [{value.low:{form}}, {value.high:{form}}]"


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _plain(value: Any) -> Any:
    # JSON knows neither NaN nor NamedTuples; `json` would write the latter as lists without names.
    if isinstance(value, Estimate):
        return None if isnan(value.mean) else value._asdict()
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value
