"""The quickstart and the pretraining of its model run as documented, for a few steps."""

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def start(recipe: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, f"recipes/{recipe}.py", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_quickstart_goes_on_after_ctrl_c(tmp_path: Path) -> None:
    arguments = ["--output_dir", str(tmp_path), "--max_steps", "4", "--logging_steps", "1", "--eval_strategy", "no"]

    process = start("quickstart", *arguments)
    assert process.stdout is not None
    assert any(line.startswith("step    1 of 4") for line in process.stdout)  # reads no further
    process.send_signal(signal.SIGINT)
    _, stopped = process.communicate(timeout=300)
    printed, errors = start("quickstart", *arguments).communicate(timeout=300)

    assert "run the same command to resume" in stopped
    assert "step    1 of 4" not in printed, errors
    assert "step    4 of 4" in printed
    assert "| task | tokens | likeliest tokens | mixtures | mixtures after GRPO |" in printed
    assert f"mot-trl generate {tmp_path}" in printed
    assert (tmp_path / "frontier.png").stat().st_size > 10_000


@pytest.mark.slow
def test_pretraining_nano_is_reproducible(tmp_path: Path) -> None:
    digests = []
    for name in ("first", "second"):
        folder = tmp_path / name
        settings = f"Path({str(folder)!r}), steps=4, careful_steps=2, batch_size=8, size=30"
        program = f"from recipes.nano.pretrain import main, Path; main({settings})"
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, check=True, capture_output=True)
        digests.append(hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest())

    assert digests[0] == digests[1]
    assert digests[0] in (tmp_path / "first" / "README.md").read_text()
