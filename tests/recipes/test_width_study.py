"""The study's second part loses no run, compares what can be compared, and says only what its results show."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from mot_trl.tasks import width
from mot_trl.tasks.width.puzzle import WAYS
from recipes.nano.model import new_nano_soft
from recipes.study.config import TUNING_SEED
from recipes.study.results_file import Stored, read
from recipes.study.running import run_all
from recipes.study.width.arms import ARMS, FIRST, STEPS, VOTES
from recipes.study.width.config import Run, WidthConfig, runs
from recipes.study.width.report import section
from recipes.study.width.results import CONTROLS, MIXTURES, Entry, WidthResults
from recipes.study.width.run import chosen_rate, execute

CONFIG = WidthConfig(seeds=3, items=60, samples=4, steps=6, prompts=4, generations=4)


def made_up(config: WidthConfig, *, mixtures: float, controls: float = 0.4, wanted: Any = None) -> WidthResults:
    """Results of a study that nobody ran: mixtures and controls have these accuracies."""
    results = {}
    for run in runs(config) if wanted is None else wanted:
        chance = random.Random(str(run))
        names = [arm for arm in ARMS if (arm.name if run.stage == "grpo" else arm.way) == run.subject]
        found = {}
        for arm in names:
            share = mixtures if arm.kind == "mixture" else controls
            correct = [sum(chance.random() < share for _ in range(config.samples)) for _ in range(config.items)]
            votes = [float(count * 2 > config.samples) for count in correct]
            found[arm.name] = {"correct": correct, "votes": votes, "thinking": 3.0, "candidates": 2.5}
        rate = 1e-3 if run.rate is None else run.rate
        result = {"variant": run.name, "seed": run.seed, "evaluations": found, "rate": rate}
        if run.stage == "grpo":
            rising = [round(16 * (0.3 + 0.05 * step)) for step in range(config.steps)]
            result |= {"correct": rising, "seconds": [0.5 * (step + 1) for step in range(config.steps)]}
        results[run.key] = result
    return WidthResults(Stored(config.settings, results))


def test_each_run_finds_what_it_needs_and_has_a_key_of_its_own() -> None:
    listed = runs(CONFIG)

    assert len({run.key for run in listed}) == len(listed)
    for place, run in enumerate(listed):
        before = {(each.stage, each.subject, each.seed) for each in listed[:place]}
        if run.rate is None:
            assert (run.stage, run.subject, TUNING_SEED) in before
        if run.stage == "grpo":
            way = next(arm.way for arm in ARMS if arm.name == run.subject)
            assert ("taught", way, run.seed) in before
    assert {run.subject for run in listed if run.stage == "taught"} == set(WAYS)


def test_arms_think_for_as_many_steps_unless_they_are_a_reference() -> None:
    for arm in ARMS:
        assert (arm.settings.max_mixture_tokens == STEPS) == (arm.kind != "reference")
        assert arm.kind != "mixture" or arm.way == "superposed"
    assert {arm.way for arm in ARMS} == set(WAYS)
    assert {*FIRST, *VOTES} <= {arm.name for arm in ARMS}


def test_mixtures_that_are_above_every_control_are_found_and_only_they() -> None:
    clear, equal = made_up(CONFIG, mixtures=0.9), made_up(CONFIG, mixtures=0.4)

    assert clear.wins("taught") == {entry.name: list(width.TASKS) for entry in MIXTURES}
    assert equal.wins("taught") == {}
    assert len(clear.comparisons("taught")) == len(MIXTURES) * len(CONTROLS) * len(width.TASKS)


@pytest.mark.slow
@pytest.mark.parametrize(("mixtures", "finding"), [(0.9, "is above every control"), (0.4, "no mixture is above")])
def test_the_page_says_what_was_found(mixtures: float, finding: str) -> None:
    page = section(made_up(CONFIG, mixtures=mixtures))

    assert page.count(finding) == 2
    assert " nan" not in page.replace("nano", "")
    assert page == section(made_up(CONFIG, mixtures=mixtures))


def test_one_control_that_is_as_good_takes_the_win_away() -> None:
    results = made_up(CONFIG, mixtures=0.9)
    for run in results.stored.results.values():
        if "pauses" in run["evaluations"]:
            run["evaluations"]["pauses"] = results.evaluations("top_k", "taught")[0]

    assert results.wins("taught") == {}


def test_a_control_without_runs_lets_nothing_win() -> None:
    wanted = [run for run in runs(CONFIG) if run.subject not in ("pause", "pauses")]

    assert made_up(CONFIG, mixtures=0.9, wanted=wanted).wins("taught") == {}


def test_differences_are_those_of_a_family_and_its_items() -> None:
    results = made_up(CONFIG, mixtures=0.9)
    first, second = Entry("top_k", "top_k"), Entry("pauses", "pauses")
    counts = {arm: results.evaluations(arm, "taught") for arm in ("top_k", "pauses")}

    for place, family in enumerate(width.TASKS):
        means = {
            arm: sum(sum(each["correct"][place::3]) for each in found.values()) / (3 * 20 * CONFIG.samples)
            for arm, found in counts.items()
        }
        found = results.minus(first, second, "taught", family)
        assert found.mean == pytest.approx(means["top_k"] - means["pauses"])
        assert results.accuracy(first, "taught", family).mean == pytest.approx(means["top_k"])


def test_a_level_is_reached_at_once_by_an_arm_that_starts_there() -> None:
    results = made_up(CONFIG, mixtures=0.9)

    assert results.reached("dirichlet", 0.5) == (0, 0.0)
    # 0.3, 0.35, ... 0.55, of 16 rollouts: the mean of the last four is 0.45 or more at the sixth step.
    assert results.reached("pauses", 0.45) == (6 * 16, 3.0)
    assert results.reached("pauses", 0.99)[0] == float("inf")


@pytest.mark.slow
def test_one_seed_claims_nothing() -> None:
    results = made_up(WidthConfig(seeds=1, items=60, samples=4), mixtures=0.9)

    assert results.wins("taught") == {}
    assert "One seed cannot say" in section(results)


@pytest.mark.parametrize(
    "fault", [{"seeds": 0}, {"items": 0}, {"generations": 1}, {"rates": []}, {"taught_rates": []}]
)
def test_bad_settings_are_named(fault: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(fault))):
        WidthConfig(**fault)


def test_the_rate_is_that_of_the_best_run_that_tried_one(tmp_path: Path) -> None:
    config = WidthConfig(results=str(tmp_path / "runs.jsonl"), items=3, samples=4)
    written: list[dict[str, Any]] = [{"settings": config.settings}]
    for rate, correct in zip(config.rates, (1, 2), strict=True):
        name = Run("grpo", "pauses", TUNING_SEED, rate).name
        evaluations = {"pauses": {"correct": [correct] * 3}}
        written.append({"variant": name, "seed": TUNING_SEED, "rate": rate, "evaluations": evaluations})
    Path(config.results).write_text("".join(json.dumps(line) + "\n" for line in written))

    assert chosen_rate(Run("grpo", "pauses", 3), config) == config.rates[1]
    with pytest.raises(ValueError, match="do the runs with seed 1000"):
        chosen_rate(Run("taught", "pause", 3), config)


@pytest.mark.slow
def test_a_study_of_seconds_runs_from_teaching_to_grpo(tmp_path: Path) -> None:
    model, tokenizer = new_nano_soft()
    walker = tmp_path / "walker"
    model.save_pretrained(walker)
    tokenizer.save_pretrained(walker)
    config = WidthConfig(
        results=str(tmp_path / "runs.jsonl"), walker=str(walker), seeds=1, taught_steps=2, taught_rows=4,
        steps=1, prompts=2, generations=2, items=6, samples=2,
    )  # fmt: skip
    wanted = [
        Run("taught", "path", TUNING_SEED, 3e-3),
        Run("grpo", "path, tokens", TUNING_SEED, 2e-4),
        Run("taught", "path", 0),
        Run("grpo", "path, tokens", 0),
    ]

    run_all(config, wanted, execute)
    before = Path(config.results).read_text()
    run_all(config, wanted, execute)

    stored = read(config.results)
    assert Path(config.results).read_text() == before
    assert list(stored.results) == [run.key for run in wanted]
    assert not [run for run in stored.results.values() if "error" in run]
    assert set(stored.results["taught path", 0]["evaluations"]) == {arm.name for arm in ARMS if arm.way == "path"}
    assert set(stored.results["grpo path, tokens", 0]["evaluations"]) == {"path, tokens", "path, greedy"}
    assert len(list(Path(f"{config.results}.models").glob("*/model.safetensors"))) == 2
