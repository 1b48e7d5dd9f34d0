"""Where the stages of `run.sh` put what they measure: a line of JSON each, written at once."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

DEVICE = "cuda" if torch.cuda.is_available() and os.environ.get("MOT_TRL_GPU_TESTS") != "cpu" else "cpu"


def write(stage: str, **figures: Any) -> None:
    """Add a line to `$OUT/results.jsonl`, so that what comes later cannot lose it."""
    card = torch.cuda.get_device_name() if DEVICE == "cuda" else "cpu"
    line = json.dumps({"stage": stage, "card": card, "torch": torch.__version__, **figures})
    with (Path(os.environ["OUT"]) / "results.jsonl").open("a") as file:
        file.write(line + "\n")
    print(line, flush=True)
