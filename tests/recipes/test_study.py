"""A study loses no run, matches controls correctly, and writes the same page from the same results."""

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import study_results
import torch
from conftest import make_model, make_tokenizer
from scipy.stats import t as student_t

from mot_trl import generate
from mot_trl.modeling.loading import Loaded
from mot_trl.strategies import build_strategy
from mot_trl.strategies.presets import PRESETS, Preset
from mot_trl.strategies.support import in_support
from mot_trl.tasks import nano
from mot_trl.tasks.nano.model import load_nano
from recipes.study import __main__ as command
from recipes.study import tables
from recipes.study.conclusion import conclusion
from recipes.study.config import StudyConfig, parse, runs
from recipes.study.report import page
from recipes.study.results import WINDOW, Results
from recipes.study.results_file import ResultsFile, Stored, read
from recipes.study.run import begun, held_out
from recipes.study.running import run_study
from recipes.study.statistics import detectable, holm, pooled, power, t_test
from recipes.study.variants import (
    BASELINE,
    EXTRA_SETTINGS,
    PAUSED,
    PAUSES,
    as_sampler,
    named_settings,
    sampler_of,
    samplers,
    study_variants,
)

VARIANTS = ["vanilla", "dirichlet_floor"]
COMMAND = """
import sys
from recipes.study import running
from recipes.study.config import StudyConfig
running.run_study(StudyConfig(**eval(sys.argv[1])))
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A study of seconds, on a model that knows nothing."""
    folder = tmp_path_factory.mktemp("model")
    make_model().save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return {
        "model": str(folder), "tasks": ["reach", "signed"], "variants": VARIANTS, "seeds": 2, "steps": 2, "prompts": 2,
        "generations": 2, "max_new_tokens": 6, "items": 4, "samples": 2, "cross_seeds": 0,
    }  # fmt: skip


def results_of(path: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """What a file says of every run, but for how long it took."""
    return {
        key: {name: value for name, value in run.items() if name != "seconds"}
        for key, run in read(path).results.items()
    }


def test_every_preset_is_a_variant_and_no_two_variants_are_equal() -> None:
    variants = study_variants()

    assert {variant.name for variant in variants} >= set(PRESETS) | set(EXTRA_SETTINGS)
    assert len({variant.name for variant in variants}) == len(variants)
    assert len({json.dumps(variant.settings.to_dict(), sort_keys=True) for variant in variants}) == len(variants)
    assert variants[0].name == BASELINE
    assert len(samplers()) == len({json.dumps(sampler.to_dict(), sort_keys=True) for sampler in samplers().values()})
    assert {sampler_of(variant.settings) for variant in variants} == set(samplers())


def test_a_new_preset_gets_a_matched_control_and_its_other_surrogate(monkeypatch: pytest.MonkeyPatch) -> None:
    new = Preset("gumbel_softmax", {"k": 7}, mixture_score="visible", source="This library", differs="Nothing.")
    monkeypatch.setitem(PRESETS, "new", new)

    variants = {variant.name: variant for variant in study_variants.__wrapped__()}

    assert variants["new"].control == "plain k=7"
    assert variants["plain k=7"].settings.strategy_kwargs == {"k": 7}
    assert variants["new, density"].settings == replace(variants["new"].settings, mixture_score="density")


@pytest.mark.parametrize(
    "variant", [variant for variant in study_variants() if variant.kind != "score"], ids=lambda variant: variant.name
)
@pytest.mark.slow
def test_a_control_has_the_support_of_its_sampler(variant: Any) -> None:
    torch.manual_seed(0)
    logps = (3 * torch.randn(64, 40)).log_softmax(dim=-1)
    sampler, control = (
        build_strategy(settings.strategy, **settings.strategy_kwargs)
        for settings in (variant.settings, named(variant.control).settings)
    )

    shown = [sampler.draw(logps).visible_ids for _ in range(3_000 if variant.control == BASELINE else 300)]
    allowed = control.draw(logps)

    if variant.control == BASELINE:
        assert control == build_strategy("one_token")
        assert (torch.stack(shown).sort(dim=0).values.diff(dim=0) != 0).sum(dim=0).max() > 10
        return
    tokens = [set(ids[used].tolist()) for ids, used in zip(allowed.candidate_ids, in_support(allowed), strict=True)]
    drawn = sampler.draw(logps)
    own = [set(ids[used].tolist()) for ids, used in zip(drawn.candidate_ids, in_support(drawn), strict=True)]
    assert own == tokens
    assert all({int(draw[row]) for draw in shown} <= tokens[row] for row in range(64))


def named(name: str) -> Any:
    return next(variant for variant in study_variants() if variant.name == name)


def test_surrogates_are_varied_only_where_they_differ() -> None:
    scored = {variant.name for variant in study_variants() if variant.kind == "score"}

    assert {"dirichlet, density", "gumbel_exact, visible", "cot2, visible"} <= scored
    assert not {name for name in scored if name.split(", ")[0] in ("top_k", "nucleus", "elementwise_max", BASELINE)}


def test_pause_tokens_are_fed_with_the_prompt_and_the_answer_alone_is_drawn() -> None:
    loaded, settings = Loaded(*load_nano(), None), named_settings(PAUSED)
    questions = list(nano.load("sum", size=2))

    paused, plain = (begun(questions, each, loaded) for each in (settings, named_settings(BASELINE)))
    drawn = generate(
        loaded.model, loaded.tokenizer, [row["prompt"] for row in paused], strategy="one_token",
        phases=settings.build_phases(loaded.tokenizer), max_new_tokens=8,
    )  # fmt: skip

    assert plain == questions
    fed = loaded.tokenizer(paused[0]["prompt"], add_special_tokens=False)["input_ids"]
    asked = loaded.tokenizer.apply_chat_template(questions[0]["prompt"], add_generation_prompt=True)["input_ids"]
    pause = loaded.tokenizer.convert_tokens_to_ids(".")
    assert fed == [*asked, *loaded.tokenizer.convert_tokens_to_ids(["<think>", *["."] * PAUSES, "</think>"])]
    assert fed.count(pause) == PAUSES
    assert not drawn.rollout.thinking_mask.any()


def test_pause_tokens_are_compared_with_plain_grpo() -> None:
    (paused,) = [variant for variant in study_variants() if variant.kind == "pause"]

    assert (paused.name, paused.control, paused.samplers) == (PAUSED, BASELINE, [PAUSED, BASELINE])


def test_no_seed_trains_on_held_out_items() -> None:
    config = StudyConfig(tasks=["reach", "signed"], items=120, steps=40, prompts=8)

    held = {row["prompt"][0]["content"] for row in held_out(config)}
    trained = {
        row["prompt"][0]["content"]
        for seed in range(config.seeds)
        for row in nano.load(config.tasks, size=config.steps * config.prompts, seed=seed, split="train")
    }

    assert len(held) == 120
    assert len(trained) > 320
    assert not held & trained


def test_runs_come_seed_by_seed() -> None:
    order = [run.key for run in runs(StudyConfig(seeds=2)) if run.variant.kind not in ("untrained", "tuning")]

    assert [seed for _, seed in order] == [0] * len(study_variants()) + [1] * len(study_variants())
    assert len(set(order)) == len(order)


@pytest.mark.slow
def test_a_killed_study_resumes_and_ends_with_the_same_results(small: dict[str, Any], tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    run_study(StudyConfig(**small, results=str(whole)))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, repr({**small, "results": str(cut)})], env=environment, stdout=subprocess.PIPE
    )
    while not (cut.is_file() and len(read(cut).results) >= 2):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    kept = cut.read_bytes()
    with cut.open("a") as file:
        file.write('{"variant":"dirichlet_floor","se')

    run_study(StudyConfig(**small, results=str(cut)))

    assert cut.read_bytes().startswith(kept)
    assert results_of(cut) == results_of(whole)
    assert len(results_of(whole)) == 4
    assert not any("error" in run for run in results_of(whole).values())


def test_a_claimed_run_is_done_by_one_process_and_once(small: dict[str, Any], tmp_path: Path) -> None:
    config = StudyConfig(**{**small, "variants": [BASELINE], "seeds": 1}, results=str(tmp_path / "runs.jsonl"))
    file = ResultsFile(config.results, config.settings)

    with file.claim((BASELINE, 0)) as mine:
        with ResultsFile(config.results, config.settings).claim((BASELINE, 0)) as theirs:
            pass
        run_study(config)
        while_claimed = file.read().results
        file.append({"variant": BASELINE, "seed": 0})
    with file.claim((BASELINE, 0)) as again:
        pass

    assert (mine, theirs, again) == (True, False, False)
    assert not while_claimed


def test_a_run_that_raises_is_a_result_and_stops_no_other(
    small: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(*_: Any, **__: Any) -> None:
        raise RuntimeError("probability tensor contains nan")

    monkeypatch.setattr("recipes.study.run.train", diverge)
    config = StudyConfig(**{**small, "seeds": 1}, results=str(tmp_path / "runs.jsonl"))

    run_study(config)

    results = read(config.results).results
    assert [run["error"] for run in results.values()] == ["RuntimeError: probability tensor contains nan"] * 2


def test_results_of_other_settings_are_not_mixed(small: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    ResultsFile(path, StudyConfig(**small).settings)

    with pytest.raises(ValueError, match="steps was 2 and is 3"):
        run_study(StudyConfig(**{**small, "steps": 3}, results=str(path)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"variants": ["vanila"]}, "Unknown variants"),
        ({"generations": 1}, "`generations`"),
        ({"seeds": 0}, "`seeds`"),
    ],
)
def test_a_meaningless_study_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StudyConfig(**change)


def test_old_and_new_flags_name_results_and_variants(monkeypatch: pytest.MonkeyPatch) -> None:
    for flags in (("--results", "--variants"), ("--lines", "--arms")):
        monkeypatch.setattr(sys, "argv", ["train", flags[0], "here.jsonl", flags[1], "vanilla", "top_k"])

        config = parse({"results": "there.jsonl", "seeds": 3})

        assert (config.results, config.variants, config.seeds) == ("here.jsonl", ["vanilla", "top_k"], 3)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = StudyConfig(seeds=2, steps=16, items=12, samples=8, cross_items=12)
    return study_results.write(tmp_path_factory.mktemp("results") / "runs.jsonl", config, failing=("cot2",))


def page_and_figures(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_equal_results_give_equal_pages_and_figures(written: Path, tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        torch.manual_seed(len(name))
        assert command.main([str(written), "--output", str(tmp_path / name / "study.md")]) == 0

    one = page_and_figures(tmp_path / "one")
    assert one == page_and_figures(tmp_path / "other")
    assert set(one) == {"study.md", *(f"study/{name}.svg" for name in ("curves", "cross", "differences"))}
    text = one["study.md"].decode()
    assert all(f"`{variant.name}`" in text for variant in study_variants())
    assert "- `cot2`, seed 1: RuntimeError" in text
    assert not re.search(r"\bnan\b", text.replace("contains nan", ""))


def test_a_page_of_no_runs_says_what_to_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "runs.jsonl"
    ResultsFile(path, StudyConfig().settings)

    assert command.main([str(path), "--output", str(tmp_path / "study.md")]) == 1
    assert "no run of 'vanilla' yet" in capsys.readouterr().err
    assert command.main([str(tmp_path / "none.jsonl")]) == 1
    assert not (tmp_path / "study.md").exists()


@pytest.mark.slow
def test_one_seed_is_compared_without_an_interval(tmp_path: Path) -> None:
    config = StudyConfig(seeds=1, steps=16, items=12, cross_items=12)
    path = study_results.write(tmp_path / "runs.jsonl", config)

    text = page(Results(read(path)), figures="study")

    assert "One seed cannot say" in text
    assert text.split("\n\n")[1] == "## Conclusion"
    assert "nothing can be said yet" in text
    assert not re.search(r"\bnan\b", text)


@pytest.mark.parametrize("gain", [0.3, -0.3])
@pytest.mark.slow
def test_the_conclusion_turns_with_the_numbers(gain: float) -> None:
    config = StudyConfig(seeds=3, steps=WINDOW, items=30, samples=4, cross_seeds=0)
    gains = {run.key: gain if run.variant.kind in ("mixture", "pause") else 0.0 for run in runs(config)}
    made = {run.key: study_results.result(run, config, gain=gains[run.key]) for run in runs(config)}

    text = conclusion(Results(Stored(config.settings, made)))

    mixtures = len([variant for variant in study_variants() if variant.kind == "mixture"])
    assert [line.split(".")[0] for line in text.splitlines()] == [str(number) for number in range(1, 11)]
    turns = [
        (f"helps here: of {mixtures} mixtures, {mixtures} end above plain GRPO and 0 below", "the steps alone help."),
        (f"does not help here: of {mixtures} mixtures, 0 end above plain GRPO and {mixtures} below",
         "the steps alone do not help."),
    ][gain < 0]  # fmt: skip
    assert all(turn in text for turn in turns)


def test_variants_with_old_runs_are_marked(written: Path) -> None:
    found = read(written)
    reason = "scored otherwise"
    marked = {key: run | ({"old": reason} if key[0] == "top_k" else {}) for key, run in found.results.items()}

    results = Results(found._replace(results=marked))

    assert tables.old_runs(results) == f"- `top_k`: {reason}"
    assert "| `top_k` (old) |" in tables.accuracy(results)
    assert tables.old_runs(Results(found)) == "No variant has runs of an older score."


def test_a_sampler_added_later_has_no_figure_in_earlier_runs(written: Path) -> None:
    found = read(written)
    for run in found.results.values():
        for part in (run.get("cross", {}), run.get("evaluations", {}) if run["variant"] == "untrained" else {}):
            part.pop(PAUSED, None)

    results = Results(found)

    header, _, *rows = tables.cross(results).split("\n\n")[0].splitlines()
    assert {row.count("|") for row in rows} == {header.count("|")}
    assert all([cell.strip(" *") for cell in row.split("|")].count("-") == 1 for row in rows)
    assert math.isnan(results.start(named(PAUSED)))


def test_differences_are_paired_by_seed(written: Path) -> None:
    results = Results(read(written))
    variant, plain = named("dirichlet"), named(BASELINE)

    ours = {seed: sum(run["evaluations"]["dirichlet"]["correct"]) / 96 for (name, seed), run in
            read(written).results.items() if name == "dirichlet"}  # fmt: skip
    theirs = results.accuracies(plain)

    assert results.accuracies(variant) == pytest.approx(ours)
    assert results.paired(variant, BASELINE) == pytest.approx([ours[seed] - theirs[seed] for seed in (0, 1)])
    assert results.minus(variant, BASELINE).mean == pytest.approx((sum(ours.values()) - sum(theirs.values())) / 2)
    assert results.end(variant).mean == pytest.approx(sum(ours.values()) / 2)


def test_a_variant_with_fewer_seeds_is_compared_on_those(written: Path) -> None:
    found = read(written)
    results = Results(
        found._replace(results={key: run for key, run in found.results.items() if key != ("dirichlet", 1)})
    )

    alone = results.minus(named("dirichlet"), BASELINE)

    assert alone.mean == pytest.approx(Results(found).paired(named("dirichlet"), BASELINE)[0])


@pytest.mark.parametrize("seeds", [1, 2])
def test_with_equal_items_the_error_is_that_of_the_seeds(written: Path, seeds: int) -> None:
    found = read(written)
    changed = {key: run for key, run in found.results.items() if key[0] != "dirichlet" or key[1] < seeds}
    for (_, seed), run in changed.items():
        for measured in run.get("evaluations", {}).values():
            measured["correct"] = [(len(run["variant"]) + 2 * seed) % 9] * 12
    results = Results(found._replace(results=changed))

    half = results.minus(named("dirichlet"), BASELINE).half

    std, dof = results.pooled_std
    assert dof > 30
    assert half == pytest.approx(student_t.ppf(0.975, dof) * std * (2 / seeds) ** 0.5)


@pytest.mark.slow
def test_equal_variants_differ_significantly_one_time_in_twenty_at_most() -> None:
    config = StudyConfig(seeds=3, steps=WINDOW, items=60, samples=4, cross_seeds=0)
    found = []
    for trial in range(12):
        made = {run.key: study_results.result(run, config, gain=0.2, trial=trial) for run in runs(config)}
        results = Results(Stored(config.settings, made))
        found += [results.minus(variant, variant.control).p_value for variant in results.of_kind("mixture")]

    assert len(found) > 150
    assert sum(value < 0.05 for value in found) / len(found) <= 0.05 + 0.03


def test_a_level_is_reached_with_the_window_that_ends_there(written: Path) -> None:
    found = read(written)
    climbing = {**found.results[BASELINE, 0], "correct": [0] * 4 + [128] * 12, "seconds": list(range(1, 17))}
    changed = {**found.results, (BASELINE, 0): climbing, (BASELINE, 1): {**climbing, "seed": 1, "correct": [0] * 16}}
    results = Results(found._replace(results=changed))

    assert results.level == 0.5
    assert results.reached(named(BASELINE)) == [((WINDOW) * 128, WINDOW), (math.inf, math.inf)]


@pytest.mark.parametrize(
    ("found", "known"),
    [
        # R's help page of power.t.test; tables of Student's t.
        (lambda: power(1.0, 20, paired=False), 0.8689528),
        (lambda: t_test(2.0, error=1.0, dof=10).p_value, 0.07338803),
        (lambda: t_test(0.0, error=1.0, dof=4).half, 2.776445),
        (lambda: power(detectable(5, paired=True), 5, paired=True), 0.8),
    ],
)
def test_power_and_t_tests_have_their_known_values(found: Callable[[], float], known: float) -> None:
    assert found() == pytest.approx(known, rel=1e-5)


def test_power_is_what_a_simulation_finds() -> None:
    torch.manual_seed(0)
    draws = torch.randn(40_000, 5, dtype=torch.float64) + 1.5

    found = draws.mean(dim=-1).abs() / (draws.std(dim=-1) / 5**0.5) > student_t.ppf(0.975, 4)

    assert found.double().mean().item() == pytest.approx(power(1.5, 5, paired=True), abs=0.01)


def test_a_difference_has_its_interval_and_p_value() -> None:
    found = t_test(0.2, error=0.1 / 3**0.5, dof=2)

    assert found.half == pytest.approx(4.302653 * 0.1 / 3**0.5, rel=1e-5)
    assert found.p_value == pytest.approx(0.0741799, rel=1e-5)
    assert math.isnan(t_test(0.2, error=math.nan, dof=0).p_value)


def test_a_standard_deviation_is_pooled_within_groups() -> None:
    pooled_std = pooled([[0.1, 0.2, 0.3], [5.0, 5.2], [9.0]])

    assert pooled_std.std == pytest.approx(((2 * 0.01 + 0.02) / 3) ** 0.5)
    assert pooled_std.dof == 3


def test_p_values_are_adjusted_by_holms_method() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert math.isnan(holm([0.01, math.nan])[1])
    assert holm([0.01, math.nan])[0] == 0.01


def test_a_sampler_is_a_preset_without_its_surrogate() -> None:
    assert as_sampler(named_settings("dirichlet")) == as_sampler(
        replace(named_settings("dirichlet"), mixture_score="expected")
    )
