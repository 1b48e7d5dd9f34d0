"""Run math-verify in the sandbox, where an answer that hangs or fills memory costs its own process alone."""

import atexit
import importlib.util
import os

from mot_trl.extras import install_hint
from mot_trl.sandbox.runner import ProgramRunner

_WORKER = "mot_trl.rewards.math.math_verify_worker"
# Each holds SymPy in memory, and only several threads that grade at once need more than one.
_MAX_WORKERS = 4

# A runner has one timeout, and starts its processes when first used.
_RUNNERS: dict[float, ProgramRunner] = {}


def require_math_verify() -> None:
    """Raise an ImportError that names the extra to install, unless math-verify is there."""
    if importlib.util.find_spec("math_verify") is None:
        raise ImportError(f"Judging symbolic answers needs math-verify, which is missing: {install_hint('math')}")


def verify(gold: str, answer: str, *, timeout: float) -> bool | None:
    """math-verify's verdict on two normalized LaTeX texts; None where the gold does not equal itself.

    False after `timeout` seconds, or where the answer takes too much memory or ends its process. Works in any thread,
    and in forked and spawned processes.

    Raises:
        ImportError: math-verify is not installed.
        RuntimeError: The worker process does not start.
    """
    require_math_verify()
    if timeout not in _RUNNERS:
        runner = ProgramRunner(
            workers=min(_MAX_WORKERS, os.cpu_count() or 1),
            timeout=timeout,
            memory_mb=2048,
            preload=(_WORKER,),
            # Answers are parsed, never executed, so a machine without the kernel's isolation may judge them, too.
            allow_weak_isolation=True,
        )
        # Of two threads that get here at once, both take the runner that was stored first.
        _RUNNERS.setdefault(timeout, runner)
    result = _RUNNERS[timeout].score(f"{_WORKER}:equivalent", gold, answer)
    return result.value if result.passed and isinstance(result.value, bool | None) else False


@atexit.register
def _close() -> None:
    for runner in _RUNNERS.values():
        runner.close()
