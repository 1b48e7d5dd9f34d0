"""The supervisor: the trusted process that takes jobs from the runner and judges them, one at a time."""

import importlib
import json
import os
import resource
import select
import signal
import sys
from typing import Any, NoReturn

from mot_trl.sandbox import probe as layers
from mot_trl.sandbox.channel import Channel, Deadline
from mot_trl.sandbox.config import Confinement
from mot_trl.sandbox.job import Result
from mot_trl.sandbox.program import START_SECONDS, EndedError, Program
from mot_trl.sandbox.stopwatch import PATIENCE, Stopwatch
from mot_trl.sandbox.test_run import Judge
from mot_trl.sandbox.zygote import Zygote

# What programs of these data sets import, and what the star imports before them touch.
_STANDARD = (
    "array ast bisect calendar cmath collections contextlib copy dataclasses datetime decimal enum fractions "
    "functools heapq io itertools json math operator queue random re statistics string struct textwrap threading "
    "time types typing warnings"
)
_ORPHAN_CHECK_MILLISECONDS = 2_000
_MEMORY_BYTES = 2 << 30
_COMPARING_SECONDS = 1.0
# For trusted comparisons of long linked lists, which recurse.
_RECURSION = 20_000


def main() -> None:
    """Read the settings from the command line, say which layers there are, and serve until the runner is gone."""
    settings = json.loads(sys.argv[2])
    runner = Channel(int(sys.argv[1]))
    trainer = os.getppid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY) if sys.platform == "linux" else -1
        # Behind the interpreter's own, so that they hide nothing; taken out again before any program runs.
        sys.path += [entry for entry in settings["path"] if entry not in sys.path]
        for name in [*_STANDARD.split(), *settings["preload"]]:
            importlib.import_module(name)
        confinement = layers.prepare(
            settings["layers"], memory_bytes=settings["memory_mb"] << 20, timeout=settings["timeout"]
        )
        os.environ.clear()
        # Before any job is read: no program's memory has ever held a test.
        zygote = Zygote(confinement)
    except BaseException as error:
        runner.send({"error": f"{type(error).__name__}: {error}"})
        return
    runner.send({"active": sorted(confinement.active), "missing": confinement.missing})
    if sys.platform == "linux":
        bound = confinement.memory_bytes + _MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (bound, bound))
    sys.setrecursionlimit(_RECURSION)
    signal.signal(signal.SIGALRM, _time_is_up)
    while _trainer_lives(runner, trainer):
        result = _judge(zygote, confinement, runner, proc, settings["test_timeout"])
        runner.send(result.__dict__)


def _time_is_up(*_: object) -> NoReturn:
    raise EndedError("timeout", "Looking at its answers took too long.")


def _trainer_lives(runner: Channel, trainer: int) -> bool:
    """Wait for the next job. The socket closes with the trainer, unless a child of it holds a copy."""
    poller = select.poll()
    poller.register(runner.end, select.POLLIN)
    while not poller.poll(_ORPHAN_CHECK_MILLISECONDS):
        if os.getppid() != trainer:
            return False
    return True


def _judge(zygote: Zygote, confinement: Confinement, runner: Channel, proc: int, test_timeout: float) -> Result:
    message: dict[str, Any] = runner.receive(Deadline(START_SECONDS))
    # A runner that hangs up does not want the answer any more: the program ends with this process.
    channel = Channel(zygote.start(), watch=runner.end)
    # The stopwatch does not run while this process looks at what the program sent, and that can be made slow.
    signal.setitimer(signal.ITIMER_REAL, PATIENCE * confinement.timeout + _COMPARING_SECONDS)
    try:
        stopwatch = Stopwatch(confinement.timeout, test_timeout, zygote.pid, proc)
        return Judge(Program(channel, stopwatch), message).result()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        channel.close()
        zygote.end()
