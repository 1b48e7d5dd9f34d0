"""The recipe for agents warms nano up and trains it with tools, for a step."""

from pathlib import Path

import pytest

from mot_trl.recipes import agent, warm_up
from mot_trl.tasks.agents import AGENTS
from mot_trl.trainer.script_utils import parse


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:You are using 'environment_factory':UserWarning")  # TRL calls it experimental
@pytest.mark.parametrize("name", AGENTS)
def test_nano_learns_to_call_tools(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm_up, "CONVERSATIONS", 20)
    size = ["--per_device_train_batch_size", "8", "--max_steps", "1", "--logging_steps", "1", "--use_cpu"]
    words = ["--output_dir", str(tmp_path), "--agent", name, "--train_size", "16", *size]

    agent.main(*parse(agent.DEFAULTS, agent.ARGUMENTS, words))

    assert (tmp_path / "warm_up" / "config.json").exists()
    assert (tmp_path / "traces" / "train_000001.parquet").exists()
    assert (tmp_path / "model.safetensors").exists()
    assert (tmp_path / "warm_up" / "tokenizer_config.json").read_text().count("response_template") == 1
