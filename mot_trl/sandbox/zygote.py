"""The zygote: a small process that imports what programs need, once, and forks a supervisor for every job."""

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
from typing import Any, NoReturn

from mot_trl.sandbox import layers, supervisor
from mot_trl.sandbox.channel import Channel

# What programs of these data sets import, and what the star imports before them touch.
_STANDARD = ["array", "ast", "bisect", "calendar", "cmath", "collections", "contextlib", "copy", "dataclasses", "datetime", "decimal", "enum", "fractions", "functools", "heapq", "io", "itertools", "json", "math", "operator", "queue", "random", "re", "statistics", "string", "struct", "textwrap", "threading", "time", "types", "typing", "warnings"]
_ORPHAN_CHECK_MILLISECONDS = 2_000


def serve(control: int, settings: dict[str, Any]) -> None:
    """Say which layers there are, then fork a supervisor for each socket that comes in, until the runner is gone."""
    runner = os.getppid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel = socket.socket(fileno=control)
    try:
        proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY) if sys.platform == "linux" else -1
        for name in [*_STANDARD, *settings["preload"]]:
            importlib.import_module(name)
        confinement = layers.prepare(
            settings["layers"], memory_bytes=settings["memory_mb"] << 20, timeout=settings["timeout"]
        )
    except BaseException as error:
        Channel(channel).send({"error": f"{type(error).__name__}: {error}"})
        return
    Channel(channel).send({"active": sorted(confinement.active), "missing": confinement.missing})
    os.environ.clear()
    # What is forked should share memory with the zygote for as long as it can.
    gc.collect()
    gc.freeze()
    while (end := _next(channel, runner)) is not None:
        child = os.fork()
        if child == 0:
            _supervise(confinement, end, channel, proc)
        end.close()
        if not _wait_for(child, channel, runner):
            return


def _supervise(confinement: layers.Confinement, end: socket.socket, channel: socket.socket, proc: int) -> NoReturn:
    status = 1
    with contextlib.suppress(BaseException):
        channel.close()
        supervisor.supervise(confinement, end, proc)
        status = 0
    os._exit(status)


def _alive(channel: socket.socket, runner: int) -> bool:
    """Whether the runner is still there: the socket closes with it, unless a child of it holds a copy."""
    poller = select.poll()
    poller.register(channel.fileno(), 0)
    return not poller.poll(0) and os.getppid() == runner


def _next(channel: socket.socket, runner: int) -> socket.socket | None:
    poller = select.poll()
    poller.register(channel.fileno(), select.POLLIN)
    while not poller.poll(_ORPHAN_CHECK_MILLISECONDS):
        if not _alive(channel, runner):
            return None
    channel.setblocking(True)
    message, files, _, _ = socket.recv_fds(channel, 1, 1)
    return socket.socket(fileno=files[0]) if message and files else None


def _wait_for(child: int, channel: socket.socket, runner: int) -> bool:
    """Wait for a supervisor to end; end it, and return False, if the runner goes away before."""
    try:
        handle = os.pidfd_open(child)
    except (AttributeError, OSError):
        os.waitpid(child, 0)
        return True
    try:
        poller = select.poll()
        poller.register(handle, select.POLLIN)
        poller.register(channel.fileno(), 0)  # hang-ups only
        while handle not in dict(poller.poll(_ORPHAN_CHECK_MILLISECONDS)):
            if not _alive(channel, runner):
                os.kill(child, signal.SIGKILL)
                return False
        return True
    finally:
        os.close(handle)
        os.waitpid(child, 0)


def main() -> None:
    """Read the settings from the command line."""
    serve(int(sys.argv[1]), json.loads(sys.argv[2]))
