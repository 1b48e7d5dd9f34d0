"""Starts a supervisor by path, in a bare interpreter: `python -I bootstrap.py FD SETTINGS`."""

import sys
import types
from pathlib import Path

# The packages' own __init__ files are for trainers; the sandbox must stay small, and knows no installed mot_trl.
for name in ("mot_trl", "mot_trl.sandbox"):
    package = types.ModuleType(name)
    package.__path__ = [str(Path(__file__).resolve().parents[1].joinpath(*name.split(".")[1:]))]
    sys.modules[name] = package

if __name__ == "__main__":
    from mot_trl.sandbox import supervisor

    supervisor.main()
