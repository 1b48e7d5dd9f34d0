"""Two processes train as one with the same global batch."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("train_tiny.py")


def run(folder: Path, processes: int, *flags: str) -> dict[str, Any]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, str(SCRIPT), str(folder), str(processes), *flags]
    common = {
        **os.environ,
        "PYTHONPATH": str(SCRIPT.parents[2]),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(processes),
    }
    workers = []
    for rank in range(processes):
        environment = {**common, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        workers.append(
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        )
    try:
        outputs = [worker.communicate(timeout=150)[0] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    lines = [line for output in outputs for line in output.splitlines() if line.startswith("RESULT ")]
    assert lines, outputs[0][-3000:]
    return json.loads(lines[0].removeprefix("RESULT "))


@pytest.mark.slow
@pytest.mark.parametrize("flags", [(), ("visible_only",)], ids=["mixtures", "no mixture at all"])
def test_two_processes_train_as_one(flags: tuple[str, ...], tmp_path: Path) -> None:
    one = run(tmp_path / "one", 1, *flags)
    two = run(tmp_path / "two", 2, *flags)

    for step, (alone, together) in enumerate(zip(one["history"], two["history"], strict=True)):
        for name, value in alone.items():
            assert together[name] == pytest.approx(value, abs=2e-5, rel=1e-4), (step, name)
    assert two["weight"] == pytest.approx(one["weight"], rel=1e-6)
