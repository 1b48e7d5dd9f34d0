"""One of several processes: runs an engine's scenarios, and leaves in files what was logged.

accelerate launch --config_file recipes/accelerate/ENGINE.yaml worker.py ENGINE FOLDER MODELS
"""

import faulthandler
import gc
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

PATIENCE = 300
"""Seconds after which a process says where it stands, and ends; far beyond what the scenarios take."""


def main(engine: str, folder: Path, models: Path) -> None:
    if engine != "cpu":
        make_cpus_accelerators()
        let_gloo_gather()
    from scenarios import SCENARIOS, run

    rank, trainer = os.environ["RANK"], None
    for name, scenario in SCENARIOS.items():
        if engine in scenario.engines:
            print(f"--- {engine}: {name}", flush=True)
            del trainer
            gc.collect()
            trainer, result = run(name, folder, models)
            (folder / name / f"rank_{rank}.json").write_text(json.dumps(result))
    trainer.end()
    (folder / f"threads_{rank}.json").write_text(json.dumps(threads("pt_gloo")))


def make_cpus_accelerators() -> None:
    """Let accelerate take up FSDP2 and DeepSpeed, which it does where there is an accelerator only."""
    from accelerate.state import DistributedType, PartialState

    os.environ |= {"ACCELERATE_TORCH_DEVICE": "cpu", "DS_ACCELERATOR": "cpu"}
    PartialState._prepare_backend = lambda *args, **kwargs: ("gloo", DistributedType.MULTI_XPU)


def let_gloo_gather() -> None:
    """Call sharded tensors' collectives without the interpreter's lock.

    torch 2.13 holds it in their autograd while it waits for gloo's own lock; gloo's threads hold that one when they
    drop a tensor, for which they need the interpreter's. Sharded tensors have their gradient from elsewhere.
    """
    import torch
    from torch.distributed import _functional_collectives as collectives

    def below_autograd(collective: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            with torch._C._AutoDispatchBelowAutograd():
                return collective(*args, **kwargs)

        return call

    for name in ("all_gather_single", "all_reduce", "broadcast", "reduce_scatter_single", "wait_tensor"):
        setattr(collectives, name, below_autograd(getattr(collectives, name)))


def threads(prefix: str) -> int:
    """How many of this process's threads have such a name."""
    return sum(path.read_text().startswith(prefix) for path in Path("/proc/self/task").glob("*/comm"))


if __name__ == "__main__":
    faulthandler.dump_traceback_later(PATIENCE, exit=True)
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
