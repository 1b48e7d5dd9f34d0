"""`python -m mot_trl.sandbox --check`: which layers this machine gives, and what is missing."""

import argparse
import os
import platform
import sys
import warnings

from mot_trl.sandbox.job import Job
from mot_trl.sandbox.runner import ProgramRunner

_MEANING = {
    "rlimits": "bounds on memory, processor time, files and threads",
    "no_new_privs": "no set-user-id program can raise it",
    "uid": "another user's id, whom nothing belongs to",
    "landlock": "reads Python and its libraries, writes nothing, no TCP",
    "seccomp": "no system calls but those that computing needs",
    "namespaces": "no network, no shared memory of others",
    "pids": "sees and reaches no other process; dies as a whole",
    "root": "a read-only root directory that holds only Python",
}


def main() -> int:
    """Print the layers; the exit status is 0 where `isolation="auto"` is satisfied, else 1."""
    parser = argparse.ArgumentParser(prog="python -m mot_trl.sandbox", description=__doc__)
    parser.add_argument("--check", action="store_true", required=True, help="try every layer and say what holds")
    parser.parse_args()
    print(f"{platform.platform()}, Python {platform.python_version()}, user id {os.geteuid()}\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with ProgramRunner(workers=1, allow_weak_isolation=True) as runner:
            for layer, reason in runner.layers().items():
                print(f"{'missing' if reason else 'ok':>8}  {layer:<13} {reason or _MEANING[layer]}")
            works = runner.run(Job("def f():\n    return 1\n", ("assert f() == 1",), (("f", "f"),))).passed
        print(f"\nA program runs: {'yes' if works else 'NO'}")
        enough = {}
        for isolation in ("auto", "strict"):
            try:
                with ProgramRunner(workers=1, isolation=isolation) as runner:
                    enough[isolation] = bool(runner.layers())
            except RuntimeError as error:
                enough[isolation] = False
                print(f"isolation={isolation!r} is refused: {error}")
            else:
                print(f"isolation={isolation!r} is satisfied.")
    return 0 if works and enough["auto"] else 1


if __name__ == "__main__":
    sys.exit(main())
