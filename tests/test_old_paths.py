"""What users of earlier versions import and type keeps working."""

import importlib
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import mot_trl
from mot_trl import _MOVED

# Module and name, as README and docs of version 0.1.0 had them, and where the name lives now.
DOCUMENTED = {
    ("attention", "load_model"): "modeling.loading.load_model",
    ("callbacks", "SaveOnInterrupt"): "trainer.callbacks.SaveOnInterrupt",
    ("config", "MoTGRPOConfig"): "trainer.config.MoTGRPOConfig",
    ("evaluation", "run"): "evaluation.run.run",
    ("export", "carry_decoder"): "generation.custom_generate.write_custom_generate",
    ("generation", "MixtureDecoder"): "generation.decoder.MixtureDecoder",
    ("grading.extract", "final_answer"): "rewards.answer.final_answer",
    ("grading.judge", "JudgeReward"): "rewards.judge.reward.JudgeReward",
    ("grading.judge", "judge_or"): "rewards.judge.reward.judge_or",
    ("grading.maths", "MathReward"): "rewards.math.equivalence.MathReward",
    ("measuring", "measure"): "evaluation.quick.evaluate_accuracy",
    ("mixture", "Mixture"): "strategies.mixture.Mixture",
    ("models", "load_nano"): "tasks.nano.model.load_nano",
    ("phases", "Phases"): "generation.phases.Phases",
    ("phases", "build_phases"): "generation.config.build_phases",
    ("phases", "text_rule"): "generation.stop_text.text_rule",
    ("plots", "plot_runs"): "traces.learning_curves.plot_runs",
    ("presets", "PRESETS"): "strategies.presets.PRESETS",
    ("rollout", "Rollout"): "modeling.rollout.Rollout",
    ("settings", "DecoderSettings"): "generation.config.DecoderConfig",
    ("settings", "parse_settings"): "generation.config.parse_settings",
    ("show", "show"): "generation.formatting.format_generation",
    ("tasks.counting", "load"): "tasks.shape_counting.load",
    ("tasks.formats", "soft_format"): "rewards.format.soft_format",
    ("tasks.maths", "load"): "tasks.math.load",
    ("tasks.reasoning_gym", "score"): "tasks.reasoning_gym.rewards.score",
    ("tasks.reasoning_gym_callback", "training_data"): "tasks.reasoning_gym.callback.training_data",
    ("trainer", "MoTGRPOTrainer"): "trainer.grpo_trainer.MoTGRPOTrainer",
    ("training", "train"): "trainer.script_utils.train",
    ("training", "train_to_end"): "trainer.script_utils.train_resumable",
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("module", "name"), DOCUMENTED, ids=".".join)
def test_a_documented_name_is_found_by_its_old_path(module: str, name: str) -> None:
    home, _, now = DOCUMENTED[module, name].rpartition(".")

    found = getattr(importlib.import_module(f"mot_trl.{module}"), name)

    assert found is getattr(importlib.import_module(f"mot_trl.{home}"), now)


@pytest.mark.parametrize("old", _MOVED)
def test_a_moved_module_says_where_it_is_now(old: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if old == "harness":
        pytest.importorskip("lm_eval")
    monkeypatch.delitem(sys.modules, f"mot_trl.{old}", raising=False)

    with pytest.warns(DeprecationWarning, match=f"mot_trl.{old} is now mot_trl.{_MOVED[old].split()[0]}"):
        module = importlib.import_module(f"mot_trl.{old}")

    with pytest.raises(AttributeError, match="has no attribute 'telepathy'"):
        module.telepathy  # noqa: B018


def test_a_module_that_never_was_is_not_found() -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("mot_trl.telepathy")


def test_the_public_names_are_all_there() -> None:
    assert all(getattr(mot_trl, name) is not None for name in mot_trl.__all__)


def test_the_changelog_names_modules_that_are_there() -> None:
    text = (Path(__file__).parents[1] / "CHANGELOG.md").read_text()
    rows = re.findall(r"^\| `[\w.*]+` \| (.+) \|$", text.partition("| old module")[2], re.MULTILINE)

    assert len(rows) > 90
    for name in re.findall(r"`([\w.]+)[.*`]", " ".join(rows)):
        module = name.removesuffix(".build_phases").rstrip(".")
        assert find_spec(module if module.startswith("recipes") else f"mot_trl.{module}") is not None, name


@pytest.mark.slow
@pytest.mark.parametrize("old", ["plots", "generate"])
def test_an_old_command_still_runs(old: str) -> None:
    command = [sys.executable, "-m", f"mot_trl.{old}", "--help"]

    assert "usage: mot-trl" in subprocess.run(command, capture_output=True, text=True, check=True).stdout
