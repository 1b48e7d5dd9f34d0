"""A study loses no run, compares what it says it compares, and writes the same page from the same lines."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import study_lines
import torch
from conftest import make_model, make_tokenizer

from mot_trl.strategies import build_strategy
from mot_trl.strategies.presets import PRESETS, Preset
from mot_trl.strategies.support import in_support
from mot_trl.tasks import nano
from recipes.study import __main__ as command
from recipes.study.arms import BESIDE_PRESETS, PLAIN, as_law, law_of, laws, named_settings, study_arms
from recipes.study.config import StudyConfig, jobs
from recipes.study.report import page
from recipes.study.results import WINDOW, Results
from recipes.study.results_file import Found, Lines, read
from recipes.study.run import held_out
from recipes.study.running import run_study
from recipes.study.statistics import detectable, holm, judge, pooled, power, t_quantile, t_tail

ARMS = ["vanilla", "dirichlet_floor"]
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
        "model": str(folder), "tasks": ["reach", "signed"], "arms": ARMS, "seeds": 2, "steps": 2, "prompts": 2,
        "generations": 2, "max_new_tokens": 6, "items": 4, "samples": 2, "cross_seeds": 0,
    }  # fmt: skip


def results_of(path: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """What a file says of every run, but for how long it took."""
    return {
        key: {name: value for name, value in line.items() if name != "seconds"}
        for key, line in read(path).lines.items()
    }


def test_every_preset_is_an_arm_and_no_two_arms_are_the_same() -> None:
    arms = study_arms()

    assert {arm.name for arm in arms} >= set(PRESETS) | set(BESIDE_PRESETS)
    assert len({arm.name for arm in arms}) == len(arms)
    assert len({json.dumps(arm.settings.to_dict(), sort_keys=True) for arm in arms}) == len(arms)
    assert arms[0].name == PLAIN
    assert len(laws()) == len({json.dumps(law.to_dict(), sort_keys=True) for law in laws().values()})
    assert {law_of(arm.settings) for arm in arms} == set(laws())


def test_a_new_preset_becomes_an_arm_with_a_control_and_its_other_score(monkeypatch: pytest.MonkeyPatch) -> None:
    new = Preset("gumbel_softmax", 7, "visible", source="This library", differs="Nothing.")
    monkeypatch.setitem(PRESETS, "new", new)

    arms = {arm.name: arm for arm in study_arms.__wrapped__()}

    assert arms["new"].control == "plain k=7"
    assert arms["plain k=7"].settings.strategy_kwargs == {"k": 7}
    assert arms["new, density"].settings == replace(arms["new"].settings, mixture_score="density")


@pytest.mark.parametrize("arm", [arm for arm in study_arms() if arm.kind != "score"], ids=lambda arm: arm.name)
def test_a_control_draws_from_the_very_tokens_that_a_law_may_show(arm: Any) -> None:
    torch.manual_seed(0)
    logps = (3 * torch.randn(64, 40)).log_softmax(dim=-1)
    law, control = (
        build_strategy(settings.strategy, **settings.strategy_kwargs)
        for settings in (arm.settings, named(arm.control).settings)
    )

    shown = [law.draw(logps).visible_ids for _ in range(3_000 if arm.control == PLAIN else 300)]
    allowed = control.draw(logps)

    if arm.control == PLAIN:
        assert control == build_strategy("one_token")
        assert (torch.stack(shown).sort(dim=0).values.diff(dim=0) != 0).sum(dim=0).max() > 10
        return
    tokens = [set(ids[used].tolist()) for ids, used in zip(allowed.candidate_ids, in_support(allowed), strict=True)]
    drawn = law.draw(logps)
    own = [set(ids[used].tolist()) for ids, used in zip(drawn.candidate_ids, in_support(drawn), strict=True)]
    assert own == tokens
    assert all({int(draw[row]) for draw in shown} <= tokens[row] for row in range(64))


def named(name: str) -> Any:
    return next(arm for arm in study_arms() if arm.name == name)


def test_scores_are_varied_only_where_they_differ() -> None:
    scored = {arm.name for arm in study_arms() if arm.kind == "score"}

    assert {"dirichlet, density", "gumbel_exact, visible", "cot2, visible"} <= scored
    assert not {name for name in scored if name.split(", ")[0] in ("top_k", "nucleus", "elementwise_max", PLAIN)}


def test_held_out_items_are_no_seed_s_training_items() -> None:
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
    order = [job.key for job in jobs(StudyConfig(seeds=2)) if job.arm.kind not in ("untrained", "tuning")]

    assert [seed for _, seed in order] == [0] * len(study_arms()) + [1] * len(study_arms())
    assert len(set(order)) == len(order)


def test_a_killed_study_goes_on_and_ends_with_the_same_lines(small: dict[str, Any], tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    run_study(StudyConfig(**small, lines=str(whole)))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, repr({**small, "lines": str(cut)})], env=environment, stdout=subprocess.PIPE
    )
    while not (cut.is_file() and len(read(cut).lines) >= 2):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    kept = cut.read_bytes()
    with cut.open("a") as lines:
        lines.write('{"arm":"dirichlet_floor","se')

    run_study(StudyConfig(**small, lines=str(cut)))

    assert cut.read_bytes().startswith(kept)
    assert results_of(cut) == results_of(whole)
    assert len(results_of(whole)) == 4
    assert not any("error" in line for line in results_of(whole).values())


def test_a_run_is_one_process_s_and_done_once(small: dict[str, Any], tmp_path: Path) -> None:
    config = StudyConfig(**{**small, "arms": [PLAIN], "seeds": 1}, lines=str(tmp_path / "runs.jsonl"))
    lines = Lines(config.lines, config.settings)

    with lines.claim((PLAIN, 0)) as mine:
        with Lines(config.lines, config.settings).claim((PLAIN, 0)) as theirs:
            pass
        run_study(config)
        while_claimed = lines.read().lines
        lines.append({"arm": PLAIN, "seed": 0})
    with lines.claim((PLAIN, 0)) as again:
        pass

    assert (mine, theirs, again) == (True, False, False)
    assert not while_claimed


def test_a_run_that_raises_is_a_line_and_ends_no_other(
    small: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(*_: Any, **__: Any) -> None:
        raise RuntimeError("probability tensor contains nan")

    monkeypatch.setattr("recipes.study.run.train", diverge)
    config = StudyConfig(**{**small, "seeds": 1}, lines=str(tmp_path / "runs.jsonl"))

    run_study(config)

    lines = read(config.lines).lines
    assert [line["error"] for line in lines.values()] == ["RuntimeError: probability tensor contains nan"] * 2


def test_lines_of_other_settings_are_not_mixed(small: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    Lines(path, StudyConfig(**small).settings)

    with pytest.raises(ValueError, match="steps was 2 and is 3"):
        run_study(StudyConfig(**{**small, "steps": 3}, lines=str(path)))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"arms": ["vanila"]}, "Unknown arms"),
        ({"generations": 1}, "`generations`"),
        ({"seeds": 0}, "`seeds`"),
    ],
)
def test_a_study_of_nothing_is_refused(change: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        StudyConfig(**change)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = StudyConfig(seeds=2, steps=16, items=12, samples=8, cross_items=12)
    return study_lines.write(tmp_path_factory.mktemp("lines") / "runs.jsonl", config, failing=("cot2",))


def page_and_figures(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_page_is_made_of_the_lines_alone_to_the_byte(written: Path, tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        torch.manual_seed(len(name))
        assert command.main([str(written), "--output", str(tmp_path / name / "study.md")]) == 0

    one = page_and_figures(tmp_path / "one")
    assert one == page_and_figures(tmp_path / "other")
    assert set(one) == {"study.md", *(f"study/{name}.svg" for name in ("curves", "cross", "differences"))}
    text = one["study.md"].decode()
    assert all(f"`{arm.name}`" in text for arm in study_arms())
    assert "- `cot2`, seed 1: RuntimeError" in text
    assert "nan" not in text.replace("contains nan", "")


def test_a_page_of_no_runs_says_what_to_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "runs.jsonl"
    Lines(path, StudyConfig().settings)

    assert command.main([str(path), "--output", str(tmp_path / "study.md")]) == 1
    assert "no run of 'vanilla' yet" in capsys.readouterr().err
    assert command.main([str(tmp_path / "none.jsonl")]) == 1
    assert not (tmp_path / "study.md").exists()


def test_one_seed_is_compared_without_an_interval(tmp_path: Path) -> None:
    config = StudyConfig(seeds=1, steps=16, items=12, cross_items=12)
    path = study_lines.write(tmp_path / "runs.jsonl", config)

    text = page(Results(read(path)), figures="study")

    assert "One seed cannot say" in text
    assert "nothing can be said yet" in text
    assert "nan" not in text


def test_differences_are_paired_by_seed(written: Path) -> None:
    results = Results(read(written))
    arm, plain = named("dirichlet"), named(PLAIN)

    ours = {seed: sum(line["evaluations"]["dirichlet"]["correct"]) / 96 for (name, seed), line in
            read(written).lines.items() if name == "dirichlet"}  # fmt: skip
    theirs = results.accuracies(plain)

    assert results.accuracies(arm) == pytest.approx(ours)
    assert results.paired(arm, PLAIN) == pytest.approx([ours[seed] - theirs[seed] for seed in (0, 1)])
    assert results.minus(arm, PLAIN).mean == pytest.approx((sum(ours.values()) - sum(theirs.values())) / 2)
    assert results.end(arm).mean == pytest.approx(sum(ours.values()) / 2)


def test_an_arm_with_fewer_seeds_is_compared_on_those(written: Path) -> None:
    found = read(written)
    results = Results(
        found._replace(lines={key: line for key, line in found.lines.items() if key != ("dirichlet", 1)})
    )

    alone = results.minus(named("dirichlet"), PLAIN)

    assert alone.mean == pytest.approx(Results(found).paired(named("dirichlet"), PLAIN)[0])


@pytest.mark.parametrize("seeds", [1, 2])
def test_where_items_are_alike_an_error_is_that_of_the_seeds(written: Path, seeds: int) -> None:
    found = read(written)
    lines = {key: line for key, line in found.lines.items() if key[0] != "dirichlet" or key[1] < seeds}
    for (_, seed), line in lines.items():
        for measured in line.get("evaluations", {}).values():
            measured["correct"] = [(len(line["arm"]) + 2 * seed) % 9] * 12
    results = Results(found._replace(lines=lines))

    half = results.minus(named("dirichlet"), PLAIN).half

    deviation, freedom = results.spread
    assert freedom > 30
    assert half == pytest.approx(t_quantile(0.975, freedom) * deviation * (2 / seeds) ** 0.5)


def test_two_arms_that_differ_by_chance_alone_are_told_apart_one_time_in_twenty_at_most() -> None:
    config = StudyConfig(seeds=3, steps=WINDOW, items=60, samples=4, cross_seeds=0)
    found = []
    for trial in range(12):
        lines = {job.key: study_lines.line(job, config, gain=0.2, trial=trial) for job in jobs(config)}
        results = Results(Found(config.settings, lines))
        found += [results.minus(arm, arm.control).p_value for arm in results.of_kind("mixture")]

    assert len(found) > 150
    assert sum(value < 0.05 for value in found) / len(found) <= 0.05 + 0.03


def test_a_level_is_reached_with_the_window_that_ends_there(written: Path) -> None:
    found = read(written)
    climbing = {**found.lines[PLAIN, 0], "correct": [0] * 4 + [128] * 12, "seconds": list(range(1, 17))}
    lines = {**found.lines, (PLAIN, 0): climbing, (PLAIN, 1): {**climbing, "seed": 1, "correct": [0] * 16}}
    results = Results(found._replace(lines=lines))

    assert results.level == 0.5
    assert results.reached(named(PLAIN)) == [((WINDOW) * 128, WINDOW), (math.inf, math.inf)]


@pytest.mark.parametrize(
    ("found", "known"),
    [
        # R's help page of power.t.test; tables of Student's t.
        (lambda: power(1.0, 20, paired=False), 0.8689528),
        (lambda: t_quantile(0.975, 1), 12.70620),
        (lambda: t_quantile(0.975, 4), 2.776445),
        (lambda: 2 * t_tail(2.0, 10), 0.07338803),
        (lambda: power(detectable(5, paired=True), 5, paired=True), 0.8),
    ],
)
def test_power_and_quantiles_have_their_known_values(found: Callable[[], float], known: float) -> None:
    assert found() == pytest.approx(known, rel=1e-5)


def test_power_is_what_a_simulation_finds() -> None:
    torch.manual_seed(0)
    draws = torch.randn(40_000, 5, dtype=torch.float64) + 1.5

    found = draws.mean(dim=-1).abs() / (draws.std(dim=-1) / 5**0.5) > t_quantile(0.975, 4)

    assert found.double().mean().item() == pytest.approx(power(1.5, 5, paired=True), abs=0.01)


def test_a_difference_has_its_interval_and_p_value() -> None:
    found = judge(0.2, error=0.1 / 3**0.5, freedom=2)

    assert found.half == pytest.approx(4.302653 * 0.1 / 3**0.5, rel=1e-5)
    assert found.p_value == pytest.approx(0.0741799, rel=1e-5)
    assert math.isnan(judge(0.2, error=math.nan, freedom=0).p_value)


def test_a_spread_is_pooled_within_groups() -> None:
    spread = pooled([[0.1, 0.2, 0.3], [5.0, 5.2], [9.0]])

    assert spread.deviation == pytest.approx(((2 * 0.01 + 0.02) / 3) ** 0.5)
    assert spread.freedom == 3


def test_adjusted_p_values_are_holm_s() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert math.isnan(holm([0.01, math.nan])[1])
    assert holm([0.01, math.nan])[0] == 0.01


def test_a_law_is_a_preset_without_its_score() -> None:
    assert as_law(named_settings("dirichlet")) == as_law(
        replace(named_settings("dirichlet"), mixture_score="expected")
    )
