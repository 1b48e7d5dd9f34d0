"""Every engine and attention kernel of this machine's GPUs, and speed; skipped where there is none.

    MOT_TRL_GPU_MODEL=Qwen/Qwen2.5-1.5B-Instruct python -m pytest tests/gpu -v -s

The model is that of the speed alone, a small random one by default.
On a CPU, `MOT_TRL_GPU_TESTS=cpu python -m pytest tests/gpu` tries the tests themselves, with one process.
"""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from train_tiny import save_model
from transformers import AutoModelForCausalLM
from transformers.utils import is_flash_attn_2_available, is_flash_attn_3_available

ROOT = Path(__file__).resolve().parents[2]
ENGINES = ("single_gpu", "ddp", "fsdp2", "zero2", "zero3")
ATTENTIONS = ("eager", "sdpa", "flex_attention", "flash_attention_2", "flash_attention_3")
ON_CPU = os.environ.get("MOT_TRL_GPU_TESTS") == "cpu"
LARGEST_GAP = 1e-5 if ON_CPU else 0.2
"""Nats between the log-probabilities of generation and of replay, on average; bfloat16 rounds the second."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.cuda.is_available() and not ON_CPU, reason="needs a CUDA GPU"),
]


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_generates_replays_saves_and_resumes(engine: str, tmp_path: Path) -> None:
    processes = min(torch.cuda.device_count(), 2) if engine != "single_gpu" else 1
    if engine != "single_gpu" and processes < 2:
        pytest.skip("needs two GPUs")
    if engine.startswith("zero") and find_spec("deepspeed") is None:
        pytest.skip("needs deepspeed")

    check(launched(tmp_path, engine, processes=processes), tmp_path, processes=processes)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_an_attention_kernel_generates_what_it_replays(attention: str, tmp_path: Path) -> None:
    installed = {"flash_attention_2": is_flash_attn_2_available, "flash_attention_3": is_flash_attn_3_available}
    if attention in installed and not installed[attention]():
        pytest.skip(f"{attention} is not installed, or not for this GPU")
    if attention == "flex_attention" and ON_CPU:
        pytest.skip("PyTorch compiles it for GPUs")

    check(launched(tmp_path, "single_gpu", attention, processes=1), tmp_path, processes=1)


@pytest.mark.skipif(find_spec("vllm") is None or ON_CPU, reason="needs vLLM, and a GPU for its CUDA graphs")
def test_vllm_in_the_same_process_generates_what_is_replayed(tmp_path: Path) -> None:
    seen = launched(tmp_path, "single_gpu", "vllm", processes=1)

    for entry in seen["whole"]:
        assert entry["mixture/share"] > 0
        assert abs(entry["mixture/log_prob_gap"]) < LARGEST_GAP
        assert entry["sampling/importance_sampling_ratio/mean"] > 0


@pytest.mark.parametrize("against", ["trl", "vllm"])
def test_speed_is_printed(against: str) -> None:
    model = os.environ.get("MOT_TRL_GPU_MODEL")
    if against == "vllm" and (find_spec("vllm") is None or model is None):
        pytest.skip("needs vllm, and a model's name in MOT_TRL_GPU_MODEL")
    command = [sys.executable, str(ROOT / "benchmarks" / "rollout.py"), "--against", against]
    command += ["--prompt_tokens", "80", "--lengths", "full", "--new_tokens", "32" if ON_CPU else "256"]
    command += ["--repeats", "1" if ON_CPU else "3"]
    command += ["--model", model] if model else []

    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=1800)

    assert done.returncode == 0, done.stderr[-4000:]
    assert f"speed_over_{against}" in done.stdout
    print(done.stdout)


def launched(folder: Path, engine: str, *arguments: str, processes: int) -> dict[str, Any]:
    """What the training script saw, started by the engine's launch file."""
    save_model(folder)
    command = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"]
    if ON_CPU:
        command += ["--cpu", "--num_processes", "1"]
    else:
        file = ROOT / "recipes" / "accelerate" / f"{engine}.yaml"
        command += ["--config_file", str(file), "--num_processes", str(processes), "--main_process_port", "0"]
    command += [str(Path(__file__).with_name("train_tiny.py")), str(folder), *arguments]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, (done.stdout + done.stderr)[-8000:]
    return json.loads((folder / "seen.json").read_text())


def check(seen: dict[str, Any], folder: Path, *, processes: int) -> None:
    """Generation mixed, replay agrees with it, the weights are whole, and the resumed run goes on where it was."""
    assert seen["processes"] == processes
    for entry in seen["whole"]:
        assert entry["mixture/share"] > 0
        assert abs(entry["mixture/log_prob_gap"]) < LARGEST_GAP
    trained = AutoModelForCausalLM.from_pretrained(folder / "saved")
    before = AutoModelForCausalLM.from_pretrained(folder / "model")
    moved = [not torch.equal(ours, old) for ours, old in zip(trained.parameters(), before.parameters(), strict=True)]
    assert all(moved)
    last, again = seen["whole"][-1], seen["resumed"][-1]
    assert again["step"] == last["step"]
    # Random numbers go on where they were, so the rollouts are the same but for what kernels round.
    assert again["reward"] == pytest.approx(last["reward"], abs=1e-6 if ON_CPU else 1.0)


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "0" if "MOT_TRL_GPU_MODEL" in os.environ else "1"}
