"""One command line for all: what it answers at once, and what `generate` prints."""

import io
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from textwrap import dedent

import pytest
from conftest import make_model, make_tokenizer

from mot_trl import cli
from mot_trl.commands.generate import as_prompt
from mot_trl.generation.config import DecoderConfig
from mot_trl.generation.custom_generate import write_custom_generate
from mot_trl.tasks.nano.model import NANO


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


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("tiny")
    make_model().save_pretrained(path)
    make_tokenizer().save_pretrained(path)
    return str(path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["/nowhere", "Why?"], "'/nowhere' is neither a local folder"),
        (["{}", "Why?", "--base", "./nowhere"], "'./nowhere' is neither a local folder"),
        (["{}", "Why?", "--strategy", "x"], "Unknown strategy 'x'; choose `trained`, one of dirichlet"),
        (["{}", "Why?", "--strategy", "top_k:q=5"], "'top_k' has no option q"),
        (["{}", "Why?", "--strategy", "trained"], "carries no decoder"),
        (["{}", "Why?", "--temperature", "-1"], "'-1' must be a number, at least 0"),
        (["{}", "Why?", "--temperature", "nan"], "'nan' must be a number"),
        (["{}", "Why?", "--max_new_tokens", "0"], "'0' must be a whole number, at least 1"),
        (["{}", "Why?", "--max_mixture_tokens", "2.5"], "'2.5' must be a whole number, at least 0"),
        (["{}", "Why?", "--max_mixture_tokens", "8", "--max_new_tokens", "12"], "no room for answers"),
        (["{}", "Why?", "Who?", "--stream"], "--stream shows one question's thinking"),
        (["{}"], "there is no question"),
    ],
)
def test_the_command_says_what_is_wrong_in_a_line(
    words: list[str], message: str, tiny: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n"))

    with suppress(SystemExit):
        assert command(*(word.format(tiny) for word in words)) == 1

    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_questions_come_from_stdin_and_answers_alone_go_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = ["sum +4 -2 +2 -0 +5", "sum +1 +1", "sum +3 +3"]
    sampling = ["--seed", "0", "--temperature", "0.1"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(questions) + "\n\n"))

    command(str(NANO), "--answer", *sampling)
    answers = capsys.readouterr().out.splitlines()
    command(str(NANO), *questions, *sampling)
    shown = capsys.readouterr().out

    assert len(answers) == 3
    assert all(answer.isdecimal() for answer in answers)
    for question, answer in zip(questions, answers, strict=True):
        assert shown.partition(f"{question}\n")[2].partition("Answer: ")[2].splitlines()[0] == answer


def test_a_system_prompt_comes_first() -> None:
    tokenizer = make_tokenizer()

    chat = as_prompt("Why?", "Be brief.", tokenizer)
    tokenizer.chat_template = None

    assert chat == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    assert as_prompt("Why?", "Be brief.", tokenizer) == "Be brief.\n\nWhy?"
    assert as_prompt("Why?", None, tokenizer) == "Why?"


def test_a_budget_closes_the_thinking_and_none_is_missed(tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    command(tiny, "Why?", "--max_mixture_tokens", "3", "--max_new_tokens", "14")
    closed = capsys.readouterr().out
    command(tiny, "Why?", "--answer", "--max_new_tokens", "8")
    printed = capsys.readouterr()

    assert closed.count("forced") == 8
    assert printed.out == "\n"
    assert "1 of 1 completions did not close their thinking: set a budget" in printed.err


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    shown = capsys.readouterr().out
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--help"])

    assert shown == capsys.readouterr().out
    assert all(f"    {name}" in shown for name in cli.COMMANDS)


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
    typos = """train gsm8k --help/train gsm8k --learning_rat 1/train gsm8k --strategy x/evaluate --task x/
        evaluate --strategies x/generate m q --strategy x/study train --telepathy/study page --telepathy/
        plots run --window 0"""
    program = f"""
        import sys
        from contextlib import suppress
        from mot_trl import cli
        for words in {lines + [line.split() for line in typos.split("/")]}:
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
