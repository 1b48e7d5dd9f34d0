"""`mot-trl evaluate`: tasks of one's own, and typos."""

import importlib.util
import runpy
import sys
from pathlib import Path

import pytest

from mot_trl import cli
from mot_trl.tasks.nano.model import NANO

OWN_TASK = """
from mot_trl.tasks import nano

correct_answer = nano.correct_answer

def load(split):
    return nano.load(size=12, split=split)

def demanding(completions, gold, **kwargs):
    return [0.0 for _ in completions]
"""


@pytest.fixture
def own_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "mytask.py").write_text(OWN_TASK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "mytask", raising=False)
    return "mytask"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--task mytask", "Unknown task 'mytask': choose one of agents, gsm8k,"),
        ("--task my.task", "or name a module of your own with a function `load`"),
        ("--models /nowhere", "'/nowhere' is neither a local folder"),
        ("--strategies one_token top_kk", "Unknown strategy 'top_kk'"),
        ("--sampels 3", "unknown flag --sampels; did you mean --samples?"),
        ("--limit few", "invalid int value: 'few'"),
    ],
)
def test_a_typo_is_answered_in_a_line(words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["evaluate", *words.split()])

    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


@pytest.mark.slow
def test_a_task_of_ones_own_is_found_in_the_folder(own_task: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", "--models", str(NANO), "--task", own_task, "--limit", "2", "--cpu", "--max_new_tokens", "8"]

    assert cli.main(words) == 0
    assert "| weights | one_token |" in capsys.readouterr().out
    assert cli.main([*words, "--reward", "demanding"]) == 1
    assert "`demanding` needs the columns ['gold']" in capsys.readouterr().err


@pytest.mark.skipif(importlib.util.find_spec("lm_eval") is not None, reason="lm-evaluation-harness is installed")
def test_the_harness_that_is_missing_is_named_in_a_line() -> None:
    with pytest.raises(SystemExit, match=r'^lm-evaluation-harness is missing: pip install "lm-eval'):
        runpy.run_module("mot_trl.evaluation.lm_eval_harness", run_name="__main__")
