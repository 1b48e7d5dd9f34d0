"""One command line for asking a model and for looking at runs."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import make_model, make_tokenizer

from mot_trl import cli
from mot_trl.generation.config import DecoderConfig
from mot_trl.generation.custom_generate import write_custom_generate


def command(*words: str) -> int:
    return cli.main(["generate", *words])


def test_the_command_prints_thinking_and_answer_with_the_checkpoints_own_decoder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_model().save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    write_custom_generate(tmp_path, DecoderConfig(max_mixture_tokens=3))

    command(str(tmp_path), "Why?", "--max_new_tokens", "14", "--seed", "0", "--stream")
    shown = capsys.readouterr().out
    command(str(tmp_path), "Why?", "--max_new_tokens", "14", "--seed", "0")

    assert shown.count("forced") == 8
    assert "</think>" in shown
    assert shown.endswith(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("words", "message"), [(["/nowhere", "Why?"], "neither a folder"), (["{}", "Why?", "--strategy", "x"], "Unknown")]
)
def test_the_command_says_what_is_wrong(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    make_model().save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)

    with pytest.raises(SystemExit):
        command(*(word.format(tmp_path) for word in words))

    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_runs_as_a_module() -> None:
    run = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-m", "mot_trl.cli", "generate", "--help"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 0, run.stderr
    assert "question" in run.stdout
