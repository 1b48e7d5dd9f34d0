"""The script for machines with a GPU runs on a CPU, with tiny shapes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_every_stage_runs_on_a_cpu_and_leaves_its_lines(tmp_path: Path) -> None:
    settings = {"MOT_TRL_GPU_TESTS": "cpu", "OUT": str(tmp_path), "PYTHON": sys.executable}

    done = subprocess.run(
        ["bash", str(Path(__file__).with_name("run.sh"))],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=300,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [line["stage"] for line in lines if "status" in line] == ["faithfulness", "step_profile"]
    gaps = [line for line in lines if "mean_gap" in line]
    assert len(gaps) == 24
    steps = {line["decoder"]: line["operations"] for line in lines if "operations" in line}
    assert min(steps.values()) > 0
    assert steps["dirichlet"] > steps["transformers"]
