"""Starts a script in several processes that make one group, and says where each stands if they do not end."""

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

from torch.distributed import TCPStore

PATIENCE = 300
"""Seconds until the processes say where they stand, and end; far beyond what any script here takes."""

DUMP = f"import faulthandler; faulthandler.dump_traceback_later({PATIENCE}, exit=True)"
RUN = "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"


def run(script: Path, processes: int, *arguments: str, folder: Path) -> list[str]:
    """The output of each process, by rank; fails with all of it unless each process ends well."""
    folder.mkdir(parents=True, exist_ok=True)
    # The store is this process's, as it is torchrun's: no other can take its port before rank 0 listens on it.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=PATIENCE))
    common = {
        **os.environ,
        "PYTHONPATH": str(script.parents[2]),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "WORLD_SIZE": str(processes),
    }
    command = [sys.executable, "-c", f"{DUMP}; {RUN}", str(script), *arguments]
    # Files, since a pipe that nobody reads stops its writer, and with it the others.
    outputs = [folder / f"rank_{rank}.txt" for rank in range(processes)]
    workers = []
    try:
        for rank, output in enumerate(outputs):
            environment = {**common, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            with output.open("w") as stream:
                workers.append(
                    subprocess.Popen(command, env=environment, stdout=stream, stderr=subprocess.STDOUT, text=True)
                )
        codes = [worker.wait(timeout=PATIENCE + 30) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    texts = [output.read_text() for output in outputs]
    assert not any(codes), "\n".join(
        f"--- rank {rank} ended with {code} ---\n{text[-4000:]}"
        for rank, (code, text) in enumerate(zip(codes, texts, strict=True))
    )
    return texts
