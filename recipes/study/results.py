"""What the lines say, arm by arm: accuracies, differences over seeds, and how soon a level is reached."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import hypot, inf, nan, sqrt
from statistics import median
from typing import Any

from mot_trl.evaluation.statistics import Estimate, estimate, pass_at_k
from recipes.study.arms import PLAIN, UNTRAINED, Arm, law_of, study_arms, tuning_arms
from recipes.study.results_file import Found, Line
from recipes.study.statistics import Difference, Spread, deviation, holm, judge, pooled

WINDOW = 8
"""Steps that a training accuracy is the mean of."""


@dataclass(frozen=True)
class Results:
    """The runs of a study; means are over seeds.

    Attributes:
        found: What was read.
    """

    found: Found

    @cached_property
    def runs(self) -> dict[str, dict[int, Line]]:
        """The runs that ended well, by arm and seed."""
        runs: dict[str, dict[int, Line]] = {}
        for (arm, seed), line in sorted(self.found.lines.items()):
            if "error" not in line:
                runs.setdefault(arm, {})[seed] = line
        return runs

    @cached_property
    def arms(self) -> list[Arm]:
        """The arms of the comparison with a run that ended well."""
        return [arm for arm in study_arms() if arm.name in self.runs]

    @cached_property
    def tuned(self) -> list[Arm]:
        """The learning rates that were tried."""
        return [arm for arm in tuning_arms() if arm.name in self.runs]

    @property
    def failed(self) -> list[Line]:
        """The runs that raised."""
        return [line for _, line in sorted(self.found.lines.items()) if "error" in line]

    def of_kind(self, *kinds: str) -> list[Arm]:
        """The arms of some kinds."""
        return [arm for arm in self.arms if arm.kind in kinds]

    def accuracies(self, arm: Arm, law: str | None = None) -> dict[int, float]:
        """Held-out accuracy at the end, by seed, under the arm's own law or another that it was tried under."""
        law = law or law_of(arm.settings)
        found = {seed: line["evaluations"].get(law) for seed, line in self.runs.get(arm.name, {}).items()}
        return {seed: _mean(each["correct"]) / self.samples for seed, each in found.items() if each}

    def end(self, arm: Arm, *, law: str | None = None, k: int = 1, family: str | None = None) -> Estimate:
        """Pass@k over held-out items, each item's mean over seeds, with a bootstrap interval over the items."""
        law = law or law_of(arm.settings)
        counts = [line["evaluations"][law]["correct"] for line in self.runs.get(arm.name, {}).values()]
        tasks = self.settings["tasks"]
        values = [
            _mean([pass_at_k(self.samples, count, k) for count in item])
            for index, item in enumerate(zip(*counts, strict=True))
            if family is None or tasks[index % len(tasks)] == family
        ]
        return estimate(values)

    def start(self, arm: Arm) -> float:
        """Accuracy before training, under the arm's law."""
        line = self.runs.get(UNTRAINED, {}).get(0)
        return _mean(line["evaluations"][law_of(arm.settings)]["correct"]) / self.samples if line else nan

    def mean(self, arm: Arm, figure: str) -> float:
        """Mean over seeds of `thinking` (tokens) or `closed` (a share) under the arm's own law."""
        law = law_of(arm.settings)
        return _mean([line["evaluations"][law][figure] for line in self.runs[arm.name].values()])

    def minus(self, arm: Arm, other: str) -> Difference:
        """Accuracy, each under its own law, less another arm's, on the seeds that both have."""
        return self.contrast({arm.name: 1.0, other: -1.0})

    def average(self, arms: Sequence[Arm], other: Callable[[Arm], str]) -> Difference:
        """The mean difference of several arms from their others, on the seeds that all of these have."""
        weights: dict[str, float] = {}
        for arm in arms:
            for name, sign in ((arm.name, 1), (other(arm), -1)):
                weights[name] = weights.get(name, 0) + sign / len(arms)
        return self.contrast(weights)

    def contrast(self, weights: Mapping[str, float]) -> Difference:
        """A weighted sum of arms' accuracies.

        Its error has two parts. Runs vary with their seed: a standard deviation pooled over all arms, as few seeds
        cannot say it of one. Items vary: the standard error of the sum's mean over items. Both hold the chance of
        single completions, so that the error is rather too large.
        """
        counts = {name: self.counts(self.named(name)) for name in weights}
        shared = set.intersection(*map(set, counts.values())) if counts else set()
        if not shared:
            return Difference(nan, nan, nan)
        share = 1 / (self.samples * len(shared))
        values = [0.0] * self.settings["items"]
        for name, weight in weights.items():
            for seed in shared:
                values = [
                    value + weight * share * count for value, count in zip(values, counts[name][seed], strict=True)
                ]
        by_seeds = self.spread.deviation * sqrt(sum(weight**2 for weight in weights.values()) / len(shared))
        by_items = deviation(values) / sqrt(len(values))
        return judge(_mean(values), error=hypot(by_seeds, by_items), freedom=self.spread.freedom)

    def counts(self, arm: Arm) -> dict[int, list[int]]:
        """By seed, how many completions of each item are correct, under the arm's own law."""
        law = law_of(arm.settings)
        return {seed: line["evaluations"][law]["correct"] for seed, line in self.runs.get(arm.name, {}).items()}

    def paired(self, arm: Arm, other: str) -> list[float]:
        """The differences between two arms, one for each seed that both have."""
        own, others = self.accuracies(arm), self.accuracies(self.named(other))
        return [own[seed] - others[seed] for seed in own if seed in others]

    def against(self, arms: Sequence[Arm], other: Callable[[Arm], str]) -> dict[str, tuple[Difference, float]]:
        """Each arm's difference from another, with its p-value adjusted for the number of these arms."""
        found = [self.minus(arm, other(arm)) for arm in arms]
        adjusted = holm([each.p_value for each in found])
        return {arm.name: pair for arm, pair in zip(arms, zip(found, adjusted, strict=True), strict=True)}

    def curves(self, arm: Arm) -> list[list[float]]:
        """Accuracy of the rollouts, mean of the last `WINDOW` steps; from step `WINDOW` on, a curve a seed."""
        size = self.rollouts
        return [
            [_mean(line["correct"][end - WINDOW : end]) / size for end in range(WINDOW, len(line["correct"]) + 1)]
            for line in self.runs.get(arm.name, {}).values()
        ]

    @cached_property
    def level(self) -> float:
        """Plain GRPO's training accuracy over the last `WINDOW` steps, mean over seeds."""
        return _mean([curve[-1] for curve in self.curves(self.named(PLAIN)) if curve])

    def reached(self, arm: Arm) -> list[tuple[float, float]]:
        """Trajectories and seconds of processor time to plain GRPO's last level, a seed each; inf where never."""
        found = []
        for curve, line in zip(self.curves(arm), self.runs.get(arm.name, {}).values(), strict=True):
            step = next((step for step, value in enumerate(curve, WINDOW) if value >= self.level), None)
            found.append((inf, inf) if step is None else (step * self.rollouts, line["seconds"][step - 1]))
        return found

    def reached_median(self, arm: Arm) -> tuple[float, float]:
        """The medians of `reached`."""
        reached = self.reached(arm)
        return (median(each[0] for each in reached), median(each[1] for each in reached)) if reached else (nan, nan)

    @cached_property
    def spread(self) -> Spread:
        """Between seeds of one arm, pooled over all arms."""
        return pooled([list(self.accuracies(arm).values()) for arm in self.arms])

    @cached_property
    def paired_spread(self) -> Spread:
        """The same of the differences from plain GRPO's run of the same seed."""
        return pooled([self.paired(arm, PLAIN) for arm in self.arms if arm.name != PLAIN])

    def deviation(self, arm: Arm) -> float:
        """Standard deviation of the accuracy over seeds."""
        return deviation(list(self.accuracies(arm).values()))

    def crossed(self, arm: Arm, law: str) -> float:
        """Accuracy under a law in the trials of every pair, mean over the seeds that have one."""
        return _mean(
            [run["cross"][law] for run in self.runs.get(arm.name, {}).values() if law in run.get("cross", {})]
        )

    def named(self, name: str) -> Arm:
        """The arm of that name."""
        return next(arm for arm in study_arms() if arm.name == name)

    @property
    def settings(self) -> dict[str, Any]:
        """The study's settings."""
        return self.found.settings

    @property
    def samples(self) -> int:
        """Completions of a held-out item."""
        return self.settings["samples"]

    @property
    def rollouts(self) -> int:
        """Completions in a step."""
        return self.settings["prompts"] * self.settings["generations"]

    @property
    def seeds(self) -> int:
        """The most seeds that any arm has."""
        return max((len(self.runs[arm.name]) for arm in self.arms), default=0)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else nan
