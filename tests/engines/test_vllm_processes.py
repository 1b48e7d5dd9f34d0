"""Two training processes, which have a vLLM engine each, or share one that is tensor-parallel."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_vllm_training import check_logs
from vllm_engines import needs_vllm

pytestmark = needs_vllm

HERE = Path(__file__).parent


@pytest.mark.parametrize("tensor_parallel_size", [1, 2])
def test_two_processes_train_with_an_engine_each_or_with_one(tmp_path: Path, tensor_parallel_size: int) -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    paths = os.pathsep.join([str(HERE), os.environ["PYTHONPATH"]])
    command = [*launch, str(HERE / "colocate_worker.py"), str(tmp_path), str(tensor_parallel_size)]

    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": paths})

    check_logs(json.loads((tmp_path / "logs.json").read_text()))
