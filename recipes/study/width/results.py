"""Figures from the results of the study's second part: accuracies by family, differences, and how soon."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import hypot, inf, isnan, nan, sqrt
from statistics import fmean, median
from typing import Any, Literal, NamedTuple

import numpy as np

from mot_trl.evaluation.statistics import Estimate, estimate
from mot_trl.tasks import width
from recipes.study.config import TUNING_SEED
from recipes.study.results_file import Result, Stored
from recipes.study.statistics import LEVEL, Difference, PooledStd, detectable, holm, pooled, sample_std, t_test
from recipes.study.width.arms import ARMS, VOTES

Stage = Literal["taught", "grpo"]

WINDOW = 4
"""Steps that a training accuracy is averaged over."""


class Comparison(NamedTuple):
    """A mixture against a control in a family, with the p-value adjusted for all comparisons of the stage."""

    mixture: str
    control: str
    family: str
    difference: Difference
    adjusted: float


class Entry(NamedTuple):
    """What is compared: an arm's single completions, or their majority."""

    name: str
    arm: str
    votes: bool = False


MIXTURES = [Entry(arm.name, arm.name) for arm in ARMS if arm.kind == "mixture"]
CONTROLS = [
    *(Entry(arm.name, arm.name) for arm in ARMS if arm.kind == "control"),
    *(Entry(f"{name}, majority", name, votes=True) for name in VOTES),
]
REFERENCES = [Entry(arm.name, arm.name) for arm in ARMS if arm.kind == "reference"]
ENTRIES = [*MIXTURES, *CONTROLS, *REFERENCES]


@dataclass(frozen=True)
class WidthResults:
    """The runs of the second part; means are over seeds and items."""

    stored: Stored

    @cached_property
    def runs(self) -> list[Result]:
        """The successful runs."""
        return [run for run in self.stored.results.values() if "error" not in run]

    @property
    def failed(self) -> list[Result]:
        """The runs that raised."""
        return [run for run in self.stored.results.values() if "error" in run]

    @property
    def settings(self) -> dict[str, Any]:
        """The study's settings."""
        return self.stored.settings

    def trained(self, arm: str) -> dict[int, Result]:
        """The GRPO runs of an arm, by seed."""
        return {run["seed"]: run for run in self.runs if run["variant"] == f"grpo {arm}"}

    def evaluations(self, arm: str, stage: Stage) -> dict[int, Result]:
        """The evaluations of an arm by seed, of taught models or of the models after GRPO."""
        found: dict[int, Result] = {}
        for run in self.runs:
            is_compared = run["variant"].startswith(f"{stage} ") and run["seed"] != TUNING_SEED
            if is_compared and arm in run["evaluations"]:
                # Several runs of GRPO may have been evaluated greedily; the first of `ARMS` trained on all tokens.
                found.setdefault(run["seed"], run["evaluations"][arm])
        return found

    def shares(self, entry: Entry, stage: Stage, family: str | None = None) -> dict[int, list[float]]:
        """By seed, the accuracy on each item, of a family or of all."""
        names = list(width.TASKS)
        own = slice(None) if family is None else slice(names.index(family), None, len(names))
        samples, found = self.settings["samples"], sorted(self.evaluations(entry.arm, stage).items())
        if entry.votes:
            return {seed: each["votes"][own] for seed, each in found}
        return {seed: [count / samples for count in each["correct"][own]] for seed, each in found}

    def accuracy(self, entry: Entry, stage: Stage, family: str | None = None) -> Estimate:
        """Each item's mean over seeds, averaged over items, with a bootstrap interval over items."""
        return estimate([fmean(item) for item in zip(*self.shares(entry, stage, family).values(), strict=True)])

    def std(self, stage: Stage, family: str | None = None) -> PooledStd:
        """Standard deviation of the accuracy between seeds, pooled over all that is compared."""
        return pooled([[fmean(each) for each in self.shares(entry, stage, family).values()] for entry in ENTRIES])

    def minus(self, first: Entry, second: Entry, stage: Stage, family: str | None = None) -> Difference:
        """Accuracy of the first minus that of the second, on the seeds that both have.

        The standard error has the two parts of the first part's: seeds, pooled, and items.
        """
        own, others = (self.shares(entry, stage, family) for entry in (first, second))
        seeds = [seed for seed in own if seed in others]
        if not seeds:
            return Difference(nan, nan, nan)
        by_item = np.mean([np.subtract(own[seed], others[seed]) for seed in seeds], axis=0).tolist()
        std = self.std(stage, family)
        error = hypot(std.std * sqrt(2 / len(seeds)), sample_std(by_item) / sqrt(len(by_item)))
        return t_test(fmean(by_item), error=error, dof=std.dof)

    def comparisons(self, stage: Stage) -> list[Comparison]:
        """Every mixture against every control in every family, adjusted for their number (Holm)."""
        found = [
            (mixture.name, control.name, family, self.minus(mixture, control, stage, family))
            for mixture in MIXTURES
            for control in CONTROLS
            for family in width.TASKS
        ]
        adjusted = holm([each[3].p_value for each in found])
        return [Comparison(*each, p_value) for each, p_value in zip(found, adjusted, strict=True)]

    def wins(self, stage: Stage) -> dict[str, list[str]]:
        """For each mixture, the families in which it is above every control at the adjusted level."""
        found: dict[str, list[str]] = {}
        compared = self.comparisons(stage)
        for mixture in MIXTURES:
            for family in width.TASKS:
                own = [each for each in compared if (each.mixture, each.family) == (mixture.name, family)]
                if all(each.difference.mean > 0 and each.adjusted < LEVEL for each in own):
                    found.setdefault(mixture.name, []).append(family)
        return found

    def best_control(self, stage: Stage, family: str | None = None) -> Entry | None:
        """The control with the highest accuracy."""
        known = [entry for entry in CONTROLS if not isnan(self.accuracy(entry, stage, family).mean)]
        return max(known, key=lambda entry: self.accuracy(entry, stage, family).mean, default=None)

    def reached(self, arm: str, level: float) -> tuple[float, float]:
        """Medians over seeds of the trajectories and seconds until an arm is at a level; 0 where it starts there."""
        found = [self._reached(run, arm, level) for run in self.trained(arm).values()]
        return (median(each[0] for each in found), median(each[1] for each in found)) if found else (nan, nan)

    def _reached(self, run: Result, arm: str, level: float) -> tuple[float, float]:
        start = self.shares(Entry(arm, arm), "taught").get(run["seed"])
        if start is not None and fmean(start) >= level:
            return 0, 0.0
        rollouts = self.settings["prompts"] * self.settings["generations"]
        for end in range(WINDOW, len(run["correct"]) + 1):
            if fmean(run["correct"][end - WINDOW : end]) / rollouts >= level:
                return end * rollouts, run["seconds"][end - 1]
        return inf, inf

    def seeds(self, stage: Stage) -> Sequence[int]:
        """Seeds of the arm that has most."""
        return max((sorted(self.evaluations(arm.name, stage)) for arm in ARMS), key=len)

    def detectable(self, stage: Stage, family: str) -> float:
        """The true difference that this many seeds detect four times in five, before adjusting."""
        groups = [entry for entry in ENTRIES if len(self.shares(entry, stage, family)) > 1]
        if len(self.seeds(stage)) < 2 or not groups:
            return nan
        return detectable(len(self.seeds(stage)), variants=len(groups)) * self.std(stage, family).std
