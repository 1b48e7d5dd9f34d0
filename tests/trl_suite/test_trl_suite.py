"""TRL's own tests of GRPO, against `MoTGRPOTrainer`: the harness, and where a source is named, all of them."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import trl
from trl_suite.as_mot_trl import MODES
from trl_suite.sources import TEST, VARIABLE, NoTestsError, Source, find
from trl_suite.suite import judge, read, run, table

TABLE = Path(__file__).resolve().parents[2] / "docs" / "trl.md"

# In the form of TRL's: models and data by the hub's names, the trainer by TRL's.
MINIATURE = """
import pytest
from datasets import load_dataset
from trl import GRPOConfig, GRPOTrainer

from .helpers import REWARD

MODEL = "trl-internal-testing/tiny-Qwen2ForCausalLM-2.5"


@pytest.mark.parametrize("settings", [{}, {"generation_kwargs": {"output_scores": True}}], ids=["plain", "scores"])
def test_train(settings, tmp_path):
    data = load_dataset("trl-internal-testing/zen", "conversational_prompt_only", split="train")
    config = GRPOConfig(
        str(tmp_path), per_device_train_batch_size=3, num_generations=3, max_completion_length=4, use_cpu=True,
        report_to="none", max_steps=1, **settings,
    )
    trainer = GRPOTrainer(MODEL, REWARD, config, train_dataset=data)
    trainer.train()
    assert trainer.state.log_history[-1]["train_loss"] is not None


def test_name():
    assert GRPOTrainer.__name__ == "GRPOTrainer"


@pytest.mark.skip(reason="needs a GPU")
def test_skipped():
    pass
"""


def published(folder: Path, text: str, version: str) -> Path:
    (folder / "tests").mkdir(parents=True, exist_ok=True)
    (folder / "tests" / "__init__.py").touch()
    helpers = 'REWARD = "trl-internal-testing/tiny-Qwen2ForSequenceClassification-2.5"\n'
    (folder / "tests" / "helpers.py").write_text(helpers)
    (folder / TEST).write_text(text + "# trl-internal-testing/tiny-Qwen2ForSequenceClassification-2.5\n")
    (folder / "VERSION").write_text(f"{version}\n")
    return folder


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b", *arguments], check=True)


@pytest.mark.slow
def test_the_tests_of_the_installed_version_are_taken_from_a_repository(tmp_path: Path) -> None:
    checkout = published(tmp_path / "checkout", "old", "1.0.0")
    git(checkout, "init", "--quiet")
    for text, version, tag in [("old", "1.0.0", "v1.0.0"), ("new", "1.1.0.dev0", None)]:
        published(checkout, text, version)
        git(checkout, "add", ".")
        git(checkout, "commit", "--quiet", "--message=x")
        git(checkout, *(["tag", tag] if tag else ["status", "--short"]))

    released, newest = (find(version, str(checkout), tmp_path / version) for version in ("1.0.0", "2.0.0"))

    assert (released.version, (released.folder / TEST).read_text()[:3]) == ("1.0.0", "old")
    assert (newest.version, (newest.folder / TEST).read_text()[:3]) == ("1.1.0.dev0", "new")


def test_a_folder_without_git_is_taken_as_it_is(tmp_path: Path) -> None:
    folder = published(tmp_path / "plain", "text", "1.0.0")

    assert find("1.0.0", str(folder), tmp_path / "out") == Source(folder, "1.0.0")


def test_a_source_without_tests_says_so(tmp_path: Path) -> None:
    (tmp_path / "trl").mkdir()

    with pytest.raises(NoTestsError, match=f"trl holds no {TEST}; let {VARIABLE} name a checkout"):
        find("1.0.0", str(tmp_path / "trl"), tmp_path / "out")
    with pytest.raises(NoTestsError, match="which does not exist"):
        find("1.0.0", str(tmp_path / "nowhere"), tmp_path / "out")


PASSED = {"outcome": "passed"}


@pytest.mark.parametrize(
    ("ours", "verdict"),
    [
        (PASSED, "same"),
        (
            {"outcome": "failed", "error": "ValueError", "message": "no", "ours": True},
            "refused: no",
        ),
        ({"outcome": "failed", "error": "ValueError", "message": "a\nb", "ours": False}, "different: ValueError: a"),
        ({"outcome": "failed", "error": "RuntimeError", "message": "a", "ours": True}, "different: RuntimeError: a"),
        ({"outcome": "not run"}, "not run"),
    ],
)
def test_a_mode_is_the_same_refuses_or_differs(ours: dict[str, Any], verdict: str) -> None:
    assert judge(PASSED, ours) == verdict


def test_the_table_has_what_passes_with_trls_trainer() -> None:
    theirs = {"A::one[a]": PASSED, "A::one[b]": PASSED, "A::two": {"outcome": "failed"}, "A::three": PASSED}
    ours = {"A::one[a]": PASSED, "A::one[b]": PASSED, "A::three": {"outcome": "skipped"}}

    rows = table({"trl": theirs, "mixtures": ours, "normal": {}})

    assert rows == [
        "| test | cases | mixtures | normal |",
        "| --- | --- | --- | --- |",
        "| `one` | 2 | same | not run |",
        "| `three` | 1 | different: skipped | not run |",
    ]


@pytest.mark.slow
def test_tests_in_trls_form_run_against_this_trainer(tmp_path: Path) -> None:
    source = Source(published(tmp_path / "source", MINIATURE, "1.0.0"), "1.0.0")

    outcomes = run(source, "mixtures", tmp_path / "out")

    verdicts = {name: judge(PASSED, outcome).split(":")[0] for name, outcome in outcomes.items()}
    log = (tmp_path / "out" / "mixtures.log").read_text()
    assert verdicts == {
        "test_train[plain]": "same",
        "test_train[scores]": "refused",
        "test_name": "different",
        "test_skipped": "different",
    }, log
    assert read(tmp_path / "out" / "mixtures.jsonl") == outcomes


@pytest.mark.slow
@pytest.mark.skipif(VARIABLE not in os.environ, reason=f"{VARIABLE} names no source of TRL")
def test_each_mode_behaves_as_the_table_says(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("suite")
    try:
        source = find(trl.__version__, os.environ[VARIABLE], folder / "source")
    except NoTestsError as error:
        pytest.skip(str(error))

    rows = table({mode: run(source, mode, folder) for mode in MODES})

    known = set(TABLE.read_text().splitlines())
    assert [row for row in rows if row not in known] == []
