"""The Slurm script starts one launcher a node, each with its own rank and the same head."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# What Slurm gives a job of two nodes, run one after the other; the launcher says what it was told.
COMMANDS = {
    "scontrol": "printf 'node1\\nnode2\\n'",
    "srun": 'shift; for SLURM_NODEID in 0 1; do export SLURM_NODEID; "$@"; done',
    "accelerate": 'echo "$@"',
}
JOB = {"SLURM_JOB_NODELIST": "node[1-2]", "SLURM_JOB_ID": "123", "SLURM_NNODES": "2", "SLURM_GPUS_ON_NODE": "8"}


def test_each_node_is_launched_with_its_rank_and_the_first_as_head(tmp_path: Path) -> None:
    for name, body in COMMANDS.items():
        command = tmp_path / name
        command.write_text(f"#!/bin/bash\n{body}\n")
        command.chmod(0o755)
    environment = {**os.environ, **JOB, "SLURM_SUBMIT_DIR": str(ROOT), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    script = ROOT / "recipes" / "slurm" / "gsm8k.slurm"

    done = subprocess.run(
        ["bash", str(script), "--max_steps", "3"], env=environment, capture_output=True, text=True, check=True
    )

    launched = [line.split() for line in done.stdout.splitlines()]
    told = [dict(zip(words[1:-3:2], words[2:-3:2], strict=True)) for words in launched]
    assert [words[-3:] for words in launched] == [["recipes/gsm8k.py", "--max_steps", "3"]] * 2
    assert [options["--machine_rank"] for options in told] == ["0", "1"]
    for options in told:
        assert (ROOT / options["--config_file"]).is_file()
        assert options["--num_machines"] == "2"
        assert options["--num_processes"] == "16"
        assert (options["--main_process_ip"], options["--main_process_port"]) == ("node1", "20123")
