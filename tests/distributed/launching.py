"""Trains the scenarios: in this process, or in two that accelerate starts with a launch file."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from scenarios import SCENARIOS, run
from worker import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
LAUNCH_FILES = ROOT / "recipes" / "accelerate"


def train_alone(folder: Path, models: Path) -> None:
    """One process, whose logs are what those of two must be."""
    for name in SCENARIOS:
        _, result = run(name, folder, models)
        (folder / name / "rank_0.json").write_text(json.dumps(result))


def train_together(engine: str, folder: Path, models: Path) -> None:
    """Start two processes by the engine's launch file; fails with what they said, unless both end well."""
    command = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"]
    command += ["--config_file", str(LAUNCH_FILES / f"{engine}.yaml"), "--num_processes", "2"]
    command += ["--main_process_port", "0", "--mixed_precision", "no"]
    command += [str(Path(__file__).with_name("worker.py")), engine, str(folder), str(models)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    output = folder / "output.txt"
    with output.open("w") as stream:
        process = subprocess.Popen(
            command, env=environment, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code = process.wait(timeout=PATIENCE + 60)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    assert code == 0, f"{engine} ended with {code}:\n{output.read_text()[-8000:]}"
