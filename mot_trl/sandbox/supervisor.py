"""The supervisor: the trusted process that takes jobs from the runner and runs their tests, one job at a time."""

import importlib
import json
import os
import resource
import select
import signal
import sys
from typing import Any, NoReturn

from mot_trl.sandbox import probe
from mot_trl.sandbox.channel import Channel, deadline
from mot_trl.sandbox.config import PATIENCE, LayerConfig
from mot_trl.sandbox.job import Result
from mot_trl.sandbox.program import START_SECONDS, EndedError, Program
from mot_trl.sandbox.stopwatch import Stopwatch
from mot_trl.sandbox.test_run import TestRun
from mot_trl.sandbox.zygote import Zygote

# What programs of coding datasets import, and what the star imports of their preludes touch.
_STANDARD = (
    "array ast bisect calendar cmath collections contextlib copy dataclasses datetime decimal enum fractions "
    "functools heapq io itertools json math operator queue random re statistics string struct textwrap threading "
    "time types typing warnings"
)
_ORPHAN_CHECK_MILLISECONDS = 2_000
_MEMORY_BYTES = 2 << 30
_COMPARING_SECONDS = 1.0
_RECURSION = 20_000  # for trusted comparisons of long linked lists, which recurse


def main() -> None:
    """Read the settings from the command line, report the layers, and serve until the runner is gone."""
    settings = json.loads(sys.argv[2])
    runner = Channel(int(sys.argv[1]))
    trainer = os.getppid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        # Opened before the private root hides it.
        proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY) if sys.platform == "linux" else -1
        # Behind the interpreter's own, so that they hide nothing; `probe` removes those that guests may not read.
        sys.path += [entry for entry in settings["path"] if entry not in sys.path]
        # Imported before the fork, so that guests share them, and before the root that may hide their files.
        for name in [*_STANDARD.split(), *settings["preload"]]:
            importlib.import_module(name)
        config = probe.prepare(settings["layers"], settings["memory_mb"] << 20, timeout=settings["timeout"])
        os.environ.clear()
        # Before any job is read: no guest's memory has ever held a test.
        zygote = Zygote(config)
    except BaseException as error:
        runner.send({"error": f"{type(error).__name__}: {error}"})
        return
    runner.send({"active": sorted(config.active), "missing": config.missing})
    if sys.platform == "linux":
        bound = config.memory_bytes + _MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (bound, bound))
    sys.setrecursionlimit(_RECURSION)
    while _trainer_lives(runner, trainer):
        runner.send(_run_job(zygote, config, runner, proc, settings["test_timeout"]).__dict__)


def _trainer_lives(runner: Channel, trainer: int) -> bool:
    """Wait for the next job. The socket closes with the trainer, unless a child of it holds a copy."""
    poller = select.poll()
    poller.register(runner.end, select.POLLIN)
    while not poller.poll(_ORPHAN_CHECK_MILLISECONDS):
        if os.getppid() != trainer:
            return False
    return True


def _run_job(zygote: Zygote, config: LayerConfig, runner: Channel, proc: int, test_timeout: float) -> Result:
    message: dict[str, Any] = runner.receive(deadline(START_SECONDS))
    # If the runner hangs up, it no longer wants the answer: this process ends, and the guest with it.
    channel = Channel(zygote.guest, watch=runner.end)
    # The stopwatch counts while the program owes an answer; this alarm ends what the stopwatch does not see, when the
    # program made its answer slow to decode or compare; and the runner kills a supervisor that outlasts both.
    program = Program(channel, Stopwatch(config.timeout, test_timeout, parent=zygote.pid, proc=proc))

    def end(*_: object) -> NoReturn:
        program.ended = EndedError("timeout", "Looking at its answers took too long.")
        raise program.ended

    signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE * config.timeout + _COMPARING_SECONDS)
    try:
        return TestRun(program, message).result()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        channel.close()
        zygote.replace_guest()
