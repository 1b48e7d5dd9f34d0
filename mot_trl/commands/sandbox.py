"""`mot-trl sandbox --check`: which layers this machine provides, and what is missing."""

import os
import platform
import warnings

from mot_trl.commands.flags import CommandParser
from mot_trl.sandbox.config import LAYERS
from mot_trl.sandbox.job import Job
from mot_trl.sandbox.runner import ProgramRunner


def main(arguments: list[str]) -> int:
    """Print the layers; the exit status is 0 if `isolation="auto"` is satisfied, else 1."""
    parser = CommandParser(prog="mot-trl sandbox", description="Check what this machine can hold.")
    parser.add_argument("--check", action="store_true", help="try every layer and report what holds (the default)")
    parser.parse_args(arguments)
    print(f"{platform.platform()}, Python {platform.python_version()}, user id {os.geteuid()}\n")
    with warnings.catch_warnings(action="ignore"):
        with ProgramRunner(workers=1, allow_weak_isolation=True) as runner:
            for layer, reason in runner.layers().items():
                print(f"{'missing' if reason else 'ok':>8}  {layer:<13} {reason or LAYERS[layer]}")
            works = runner.run(Job("def f():\n    return 1\n", ("assert f() == 1",), (("f", "f"),))).passed
        print(f"\nA program runs: {'yes' if works else 'NO'}")
        satisfied = set()
        for isolation in ("auto", "strict"):
            try:
                with ProgramRunner(workers=1, isolation=isolation) as runner:
                    runner.layers()
                print(f"isolation={isolation!r} is satisfied.")
                satisfied.add(isolation)
            except RuntimeError as error:
                print(f"isolation={isolation!r} is refused: {error}")
    return 0 if works and "auto" in satisfied else 1
