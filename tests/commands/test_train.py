"""`mot-trl train`: flags that are known without any import, and recipes that run as their files do."""

from importlib import import_module

import pytest
from trl import ModelConfig

from mot_trl import MoTGRPOConfig, cli
from mot_trl.commands import train
from mot_trl.commands.flags import strategy_word
from mot_trl.recipes import TASKS
from mot_trl.strategies import STRATEGIES
from mot_trl.strategies.presets import PRESETS
from mot_trl.trainer.recipe_parser import _RecipeParser


@pytest.mark.parametrize("task", TASKS)
def test_the_flags_read_from_sources_are_those_of_the_parser(task: str) -> None:
    arguments = import_module(f"mot_trl.recipes.{task}").ARGUMENTS
    parser = _RecipeParser((MoTGRPOConfig, ModelConfig, arguments))

    read = {flag.name for flag in [*train.task_flags(task), *train.own_flags(), *train.upstream_flags()]}

    assert read == {action.dest for action in parser._actions} - {"help"}


def test_names_of_strategies_and_presets_are_read_from_sources() -> None:
    for word in (*STRATEGIES, *PRESETS, "trained", "gated:wrapped=dirichlet,k=3,rate=0.2", "preset:soft_grpo:k=3"):
        assert strategy_word(word) == word
    assert train.choices()["experiment_name"] == sorted(PRESETS)
    assert train.choices()["mixture_score"] == ["density", "expected", "visible"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["gsmk8"], "invalid choice: 'gsmk8'"),
        (["gsm8k", "--learning_rat", "1e-5"], "unknown flag --learning_rat; did you mean --learning_rate?"),
        (["gsm8k", "--learning-rat=1e-5"], "did you mean --learning_rate?"),
        (["gsm8k", "--max_steps", "many"], "invalid int value: 'many'"),
        (["gsm8k", "--strategy", "dirichle"], "Unknown strategy 'dirichle'; choose"),
        (["gsm8k", "--experiment_name", "topk"], "invalid choice: 'topk'"),
        (["gsm8k", "--mixture_score", "densty"], "invalid choice: 'densty'"),
        (["gsm8k", "--strategy_kwargs", '{"k": 3'], """write it as '{"k": 3}'"""),
        (["gsm8k", "--generation_kwargs", "{k: 3}"], "is no JSON"),
        (["quickstart", "--data_path", "here"], "unknown flag --data_path"),
        (["mbpp", "--judge", "me"], "unknown flag --judge"),
        (["reasoning_gym", "--suite", "tenn"], "invalid choice: 'tenn'"),
        (["gsm8k", "quickly"], "unknown argument quickly"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_typo_is_answered(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["train", *words])

    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        "--mixture_k 3 --strategy top_k:min_prob=0.1 --no_share_prompts --use-peft",
        "--lora_target_modules q_proj v_proj --max_steps=-1 --bf16 false",
    ],
)
def test_what_the_parser_takes_is_no_typo(words: str) -> None:
    train.check_flags("gsm8k", words.split())


@pytest.mark.parametrize("task", TASKS)
def test_help_fits_a_screen(task: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", task, "--help"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 50
    assert max(map(len, lines)) <= 100
    assert all(
        any(f" --{flag.name} " in line for line in lines) for flag in [*train.task_flags(task), *train.own_flags()]
    )


def test_help_all_lists_what_trl_takes_too(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        cli.main(["train", "gsm8k", "--help", "all"])

    shown = capsys.readouterr().out
    assert "usage: mot-trl train gsm8k" in shown
    assert shown.count("\n") > 1000


def test_an_error_before_training_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "gsm8k", "--data_path", "/nowhere"]) == 1

    assert len(capsys.readouterr().err.splitlines()) == 1
