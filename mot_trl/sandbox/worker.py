"""The trainer's handle on one supervisor process: start it, send it jobs, kill it."""

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from mot_trl.sandbox import codec
from mot_trl.sandbox.channel import Channel, ClosedError, deadline
from mot_trl.sandbox.config import PATIENCE

_START_SECONDS = 120
_GRACE_SECONDS = 10  # on top of what the supervisor allows: after this, the supervisor itself hangs
_STOP_CHECK_SECONDS = 0.2


class StartError(RuntimeError):
    """The sandbox's own processes do not start."""


class Worker:
    """One supervisor with its zygote, which runs one job at a time; started when needed, and when it has died."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        self._owner = os.getpid()
        self._channel: Channel | None = None
        self.process: subprocess.Popen[bytes] | None = None
        self.layers: dict[str, Any] = {}

    def start(self) -> None:
        """Start the processes, unless they run."""
        if self.process is not None and self.process.poll() is None:
            return
        self.kill()
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = self._spawn(theirs.fileno())
        self._channel = Channel(ours.detach(), limit=2 * codec.MAX_BYTES)  # an answer of MAX_BYTES, and more
        try:
            self.layers = self._channel.receive(deadline(_START_SECONDS))
        except (OSError, codec.CodecError) as error:
            self.layers = {"error": error}
        if "error" in self.layers:
            self.kill()
            raise StartError(f"The sandbox does not start: {self.layers.pop('error')}")

    def _spawn(self, channel: int) -> subprocess.Popen[bytes]:
        # An empty environment holds no secrets. One thread, as a fork copies only the calling one; symbols bound at
        # once, rather than again in every fork.
        environment = {"LANG": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "LD_BIND_NOW": "1"}
        if "LD_LIBRARY_PATH" in os.environ:
            environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
        # Isolated mode drops PYTHONPATH and the user's site directory, where modules to preload may be.
        settings = {**self._settings, "path": [entry for entry in sys.path if entry]}
        return subprocess.Popen(
            [sys.executable, "-I", str(Path(__file__).with_name("bootstrap.py")), str(channel), json.dumps(settings)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd="/",
            pass_fds=(channel,),
            start_new_session=True,  # Ctrl-C is for the trainer, which then ends the supervisor
        )

    def run(self, message: dict[str, Any], stop: threading.Event) -> dict[str, Any]:
        """The supervisor's answer to a job; ClosedError if it died or `stop` was set, DeadlineError if it hangs."""
        try:
            self.start()
            if self._channel is None:  # another thread has closed the runner
                raise ClosedError("stopped")
            remaining = deadline(PATIENCE * self._settings["timeout"] + _GRACE_SECONDS)

            def clock() -> float:
                if stop.is_set():
                    raise ClosedError("stopped")
                return min(remaining(), _STOP_CHECK_SECONDS)

            self._channel.send(message, clock)
            return self._channel.receive(clock)
        except BaseException:  # Ctrl-C, too: an unfinished job must not run on
            self.kill()
            raise

    def kill(self) -> None:
        """End the supervisor at once. The kernel ends the zygote with it, and the guest with that."""
        process, channel = self.process, self._channel
        self.process = self._channel = None
        if process is not None:
            if os.getpid() != self._owner:
                process.returncode = 0  # not our child, after a fork: neither signal it nor wait for it
            process.kill()
            process.wait()
        if channel is not None:
            channel.close()
