"""The command checks what it serves before vLLM starts, and hands it the decoder."""

import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import make_model, make_tokenizer

from mot_trl import cli
from mot_trl.commands.vllm_serve import SETTINGS
from mot_trl.generation.config import DecoderConfig
from mot_trl.generation.custom_generate import write_custom_generate


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that carries no decoder."""
    folder = tmp_path_factory.mktemp("plain")
    make_model().save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def trained(plain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(shutil.copytree(plain, tmp_path_factory.mktemp("trained") / "model"))
    write_custom_generate(folder, DecoderConfig("dirichlet", {"k": 4}, max_mixture_tokens=30))
    return folder


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[list[str], dict[str, str]]]:
    """The command line of vLLM that the command becomes, and its environment."""
    became: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.delenv("VLLM_SERVER_DEV_MODE", raising=False)
    monkeypatch.setattr("mot_trl.engines.vllm.check_version", lambda: None)
    monkeypatch.setattr(os, "execve", lambda _, command, environment: became.append((command, environment)))

    def run(*words: str) -> tuple[list[str], dict[str, str]]:
        cli.main(["vllm-serve", *words])
        return became[-1]

    return run


def settings_of(command: list[str]) -> dict[str, object]:
    (word,) = (each for each in command if each.startswith("--additional-config="))
    return json.loads(word.partition("=")[2])


def test_a_checkpoint_is_served_with_the_decoder_that_it_carries(serve: Callable, trained: Path) -> None:
    command, environment = serve(str(trained), "--port", "9")

    assert command[2:7] == ["vllm.entrypoints.cli.main", "serve", str(trained), "--port", "9"]
    decoder = DecoderConfig("dirichlet", {"k": 4}, max_mixture_tokens=30)
    assert settings_of(command) == {"mot_trl": decoder.to_dict(), "mot_trl_probes": True}
    assert '--hf-overrides={"architectures": ["MixtureLlamaForCausalLM"]}' in command
    assert environment["VLLM_SERVER_DEV_MODE"] == "1"
    assert "--weight-transfer-config" in command


def test_flags_count_more_than_the_checkpoint(serve: Callable, trained: Path) -> None:
    command, _ = serve(str(trained), "--strategy", "top_k:k=3", "--stop-text", "</x>")

    want = DecoderConfig("top_k", {"k": 3}, stop_text="</x>", max_mixture_tokens=30)
    assert settings_of(command)["mot_trl"] == want.to_dict()


def test_every_setting_of_a_decoder_has_its_flag() -> None:
    assert {*SETTINGS, "strategy_kwargs"} == {field.name for field in fields(DecoderConfig)}


def test_a_server_for_inference_has_no_endpoint_that_replaces_its_weights(serve: Callable, trained: Path) -> None:
    command, environment = serve(str(trained), "--inference_only")

    assert "VLLM_SERVER_DEV_MODE" not in environment
    assert "--weight-transfer-config" not in command


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "carries no decoder in its generation config; name a strategy"),
        (["--strategy", "dirichle"], "Unknown strategy 'dirichle'"),
        (["--strategy", "dirichlet:k=300"], "300 tokens is beyond the model's vocabulary of 259"),
        (["--strategy", "dirichlet", "--max_mixture_tokens", "0"], "whole number, at least 1"),
        (["--strategy", "dirichlet", "--start_text", ""], "start_text"),
        (["--strategy", "dirichlet", "--scheduler-cls=Mine"], "set vLLM's `scheduler_cls` themselves"),
        (["--strategy", "dirichlet", "--hf_overrides.rope_theta", "3"], "set vLLM's `hf_overrides` themselves"),
    ],
)
def test_what_does_not_fit_is_refused(
    plain: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with suppress(SystemExit):
        assert cli.main(["vllm-serve", str(plain), *words]) == 1

    assert message in " ".join(capsys.readouterr().err.split())


def test_models_that_cannot_be_served_are_refused(
    plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter, other = (Path(shutil.copytree(plain, tmp_path / name)) for name in ("adapter", "other"))
    (adapter / "adapter_config.json").write_text("{}")
    make_model("gemma2").save_pretrained(other)
    for folder in (adapter, other, Path("/nowhere")):
        with suppress(SystemExit):
            assert cli.main(["vllm-serve", str(folder), "--strategy", "dirichlet"]) == 1

    said = capsys.readouterr().err
    for message in ("is an adapter", "Gemma2ForCausalLM was not tried", "/nowhere"):
        assert message in said


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed here")
def test_the_missing_extra_is_named(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["vllm-serve", str(trained)]) == 1

    assert "vLLM is not installed" in capsys.readouterr().err
