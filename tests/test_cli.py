"""One command line for generation, traces and plots."""

import subprocess
import sys
from pathlib import Path
from textwrap import dedent

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
    ("words", "message"),
    [(["/nowhere", "Why?"], "neither a local folder"), (["{}", "Why?", "--strategy", "x"], "Unknown")],
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


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    shown = capsys.readouterr().out
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--help"])

    assert shown == capsys.readouterr().out
    assert all(f"    {name} " in shown for name in ("generate", "traces", "plots"))


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_parses_its_own_arguments(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        cli.main([name, "--help"])

    assert f"usage: mot-trl {name}" in capsys.readouterr().out


def python(*arguments: str) -> str:
    command = [sys.executable, "-W", "error::RuntimeWarning", *arguments]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


SLOW = {"torch", "transformers", "trl", "datasets", "pandas", "matplotlib"}


def test_help_and_typos_wait_for_no_slow_import() -> None:
    lines = [[], ["--help"], ["trian"], *([name, word] for name in cli.COMMANDS for word in ("--help", "--telepathy"))]
    program = f"""
        import sys
        from contextlib import suppress
        from mot_trl import cli
        for words in {lines}:
            with suppress(SystemExit):
                cli.main(words)
            assert not {SLOW} & set(sys.modules), words"""

    shown = python("-c", dedent(program))

    assert all(f"usage: mot-trl {name}" in shown for name in cli.COMMANDS)


@pytest.mark.parametrize("module", [["mot_trl.cli", "generate"], ["mot_trl.generate"]])
def test_the_command_runs_as_a_module(module: list[str]) -> None:
    assert "question" in python("-m", *module, "--help")


@pytest.mark.slow
def test_importing_the_old_module_leaves_the_function() -> None:
    program = "import mot_trl.generate; from mot_trl import generate; print(mot_trl.generate is generate, generate)"

    assert python("-c", program).startswith("True <function generate")
