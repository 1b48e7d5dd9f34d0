"""Start a supervisor by path, in a bare interpreter: `python -I bootstrap.py FD SETTINGS`."""

import sys
import types
from pathlib import Path

# Stand-ins for the packages, whose own __init__ files are for trainers. So the sandbox stays small, and its modules
# come from this folder, whatever mot_trl is installed.
for name in ("mot_trl", "mot_trl.sandbox"):
    package = types.ModuleType(name)
    package.__path__ = [str(Path(__file__).resolve().parents[1].joinpath(*name.split(".")[1:]))]
    sys.modules[name] = package

if __name__ == "__main__":
    from mot_trl.sandbox import supervisor

    supervisor.main()
