"""Figures from the results of a study: accuracies, differences between variants, and how soon a level is reached."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import hypot, inf, nan, sqrt
from statistics import median
from typing import Any

import numpy as np

from mot_trl.evaluation.statistics import Estimate, estimate, pass_at_k
from recipes.study.results_file import Result, Stored
from recipes.study.statistics import Difference, PooledStd, holm, pooled, sample_std, t_test
from recipes.study.variants import BASELINE, UNTRAINED, Variant, sampler_of, study_variants, tuning_variants

WINDOW = 8
"""Steps that a training accuracy is averaged over."""


@dataclass(frozen=True)
class Results:
    """The runs of a study; means are over seeds.

    Attributes:
        stored: Contents of the results file.
    """

    stored: Stored

    @cached_property
    def runs(self) -> dict[str, dict[int, Result]]:
        """The successful runs, by variant and seed."""
        runs: dict[str, dict[int, Result]] = {}
        for (name, seed), result in sorted(self.stored.results.items()):
            if "error" not in result:
                runs.setdefault(name, {})[seed] = result
        return runs

    @cached_property
    def variants(self) -> list[Variant]:
        """The compared variants that have a successful run."""
        return [variant for variant in study_variants() if variant.name in self.runs]

    @cached_property
    def tuned(self) -> list[Variant]:
        """The learning rates that were tried."""
        return [variant for variant in tuning_variants() if variant.name in self.runs]

    @property
    def failed(self) -> list[Result]:
        """The runs that raised."""
        return [result for _, result in sorted(self.stored.results.items()) if "error" in result]

    @cached_property
    def old(self) -> dict[str, str]:
        """The variants with runs that a line marks as `old`, and the reason it gives."""
        return {name: run["old"] for name, runs in self.runs.items() for run in runs.values() if "old" in run}

    def of_kind(self, *kinds: str) -> list[Variant]:
        """The variants of some kinds."""
        return [variant for variant in self.variants if variant.kind in kinds]

    def of_variant(self, variant: Variant) -> list[Result]:
        """The successful runs of a variant."""
        return list(self.runs.get(variant.name, {}).values())

    def counts(self, variant: Variant, sampler: str | None = None) -> dict[int, list[int]]:
        """By seed, the number of correct completions of each item, under the variant's own sampler or another."""
        sampler = sampler or sampler_of(variant.settings)
        runs = self.runs.get(variant.name, {}).items()
        return {seed: run["evaluations"][sampler]["correct"] for seed, run in runs if sampler in run["evaluations"]}

    def accuracies(self, variant: Variant) -> dict[int, float]:
        """Final accuracy by seed, under the variant's own sampler."""
        return {seed: _mean(counts) / self.samples for seed, counts in self.counts(variant).items()}

    def end(self, variant: Variant, *, sampler: str | None = None, k: int = 1, family: str | None = None) -> Estimate:
        """Final pass@k: each item's mean over seeds, averaged over items, with a bootstrap interval over items."""
        tasks = self.settings["tasks"]
        values = [
            _mean([pass_at_k(self.samples, count, k) for count in item])
            for index, item in enumerate(zip(*self.counts(variant, sampler).values(), strict=True))
            if family is None or tasks[index % len(tasks)] == family
        ]
        return estimate(values)

    def start(self, variant: Variant) -> float:
        """Accuracy before training, under the variant's sampler."""
        run = self.runs.get(UNTRAINED, {}).get(0, {"evaluations": {}})
        found = run["evaluations"].get(sampler_of(variant.settings), {"correct": []})
        return _mean(found["correct"]) / self.samples

    def mean(self, variant: Variant, figure: str) -> float:
        """Mean of `thinking` (tokens) or `closed` (a share) under the variant's own sampler."""
        sampler = sampler_of(variant.settings)
        return _mean([run["evaluations"][sampler][figure] for run in self.of_variant(variant)])

    def minus(self, variant: Variant, other: str) -> Difference:
        """Accuracy of one variant minus another's, each under its own sampler, on the seeds that both have."""
        return self.contrast({variant.name: 1.0, other: -1.0})

    def average(self, variants: Sequence[Variant], other: Callable[[Variant], str]) -> Difference:
        """Mean difference of several variants from their counterparts, on the seeds that all of them have."""
        weights: dict[str, float] = {}
        for variant in variants:
            for name, sign in ((variant.name, 1), (other(variant), -1)):
                weights[name] = weights.get(name, 0) + sign / len(variants)
        return self.contrast(weights)

    def contrast(self, weights: Mapping[str, float]) -> Difference:
        """A weighted sum of variants' accuracies.

        Its standard error has two parts: the standard deviation between seeds, pooled over all variants because few
        seeds cannot tell it for one, and the standard error of the sum's mean over items. Both include the randomness
        of single completions, so the error is conservative.
        """
        counts = {name: self.counts(self.named(name)) for name in weights}
        shared = set.intersection(*map(set, counts.values())) if counts else set()
        if not shared:
            return Difference(nan, nan, nan)
        # One value per item, so that an item that is easy for all variants adds nothing to the error.
        by_item = [
            weight * np.mean([counts[name][seed] for seed in shared], axis=0) for name, weight in weights.items()
        ]
        values = (np.sum(by_item, axis=0) / self.samples).tolist()
        between_seeds = self.pooled_std.std * sqrt(sum(weight**2 for weight in weights.values()) / len(shared))
        between_items = sample_std(values) / sqrt(len(values))
        return t_test(_mean(values), error=hypot(between_seeds, between_items), dof=self.pooled_std.dof)

    def paired(self, variant: Variant, other: str) -> list[float]:
        """The differences between two variants, one for each seed that both have."""
        own, others = self.accuracies(variant), self.accuracies(self.named(other))
        return [own[seed] - others[seed] for seed in own if seed in others]

    def against(
        self, variants: Sequence[Variant], other: Callable[[Variant], str]
    ) -> dict[str, tuple[Difference, float]]:
        """Each variant's difference from its counterpart, and the p-value adjusted for the number of variants."""
        found = [self.minus(variant, other(variant)) for variant in variants]
        adjusted = holm([each.p_value for each in found])
        names = [variant.name for variant in variants]
        return dict(zip(names, zip(found, adjusted, strict=True), strict=True))

    def curves(self, variant: Variant) -> list[list[float]]:
        """Training accuracy over the last `WINDOW` steps, from step `WINDOW` on: one curve per seed."""
        return [
            [
                _mean(run["correct"][end - WINDOW : end]) / self.rollouts
                for end in range(WINDOW, len(run["correct"]) + 1)
            ]
            for run in self.of_variant(variant)
        ]

    @cached_property
    def level(self) -> float:
        """Plain GRPO's training accuracy over its last `WINDOW` steps."""
        return _mean([curve[-1] for curve in self.curves(self.named(BASELINE)) if curve])

    def reached(self, variant: Variant) -> list[tuple[float, float]]:
        """Trajectories and processor seconds until `level` is reached, by seed; inf where it never is."""
        found = []
        for curve, run in zip(self.curves(variant), self.of_variant(variant), strict=True):
            step = next((step for step, value in enumerate(curve, WINDOW) if value >= self.level), None)
            found.append((inf, inf) if step is None else (step * self.rollouts, run["seconds"][step - 1]))
        return found

    def reached_median(self, variant: Variant) -> tuple[float, float]:
        """The medians of `reached`."""
        reached = self.reached(variant)
        return (median(each[0] for each in reached), median(each[1] for each in reached)) if reached else (nan, nan)

    @cached_property
    def pooled_std(self) -> PooledStd:
        """Standard deviation of the accuracy between seeds, pooled over all variants."""
        return pooled([list(self.accuracies(variant).values()) for variant in self.variants])

    @cached_property
    def paired_std(self) -> PooledStd:
        """The same for differences from plain GRPO's run of the same seed."""
        return pooled([self.paired(variant, BASELINE) for variant in self.variants if variant.name != BASELINE])

    def std(self, variant: Variant) -> float:
        """Standard deviation of a variant's accuracy between seeds."""
        return sample_std(list(self.accuracies(variant).values()))

    def crossed(self, variant: Variant, sampler: str) -> float:
        """Accuracy under any sampler, over the seeds that were evaluated under all of them."""
        return _mean([run["cross"][sampler] for run in self.of_variant(variant) if sampler in run.get("cross", {})])

    def named(self, name: str) -> Variant:
        """The variant of that name."""
        return next(variant for variant in study_variants() if variant.name == name)

    @property
    def settings(self) -> dict[str, Any]:
        """The study's settings."""
        return self.stored.settings

    @property
    def samples(self) -> int:
        """Completions per held-out item."""
        return self.settings["samples"]

    @property
    def rollouts(self) -> int:
        """Completions per step."""
        return self.settings["prompts"] * self.settings["generations"]

    @property
    def seeds(self) -> int:
        """The largest number of seeds of any variant."""
        return max((len(self.runs[variant.name]) for variant in self.variants), default=0)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else nan
