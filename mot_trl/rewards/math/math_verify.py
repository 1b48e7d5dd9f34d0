"""math-verify behind a wall: worker processes that are killed when they are late and restarted when they die."""

import atexit
import contextlib
import importlib.util
import json
import os
import select
import subprocess
import sys
import threading
import time
from pathlib import Path

_SCRIPT = Path(__file__).with_name("verify_worker.py")
_START_SECONDS = 60.0  # importing sympy on a loaded machine
_GRACE_SECONDS = 0.5  # for the worker to kill its own child before it is killed itself
_MAX_WORKERS = 4


def require_math_verify() -> None:
    """Raise ImportError, naming the extra, unless math-verify is installed."""
    if importlib.util.find_spec("math_verify") is None:
        raise ImportError(
            'Judging symbolic answers needs math-verify, which is missing; install it: pip install "mot-trl[math]".'
        )


def verify(gold: str, answer: str, *, timeout: float) -> bool | None:
    """math-verify's verdict on two normalised LaTeX texts: None where the gold does not equal itself.

    False after `timeout` seconds, or where the answer costs too much memory. Works in any thread, and in forked and
    spawned processes. Raises ImportError where math-verify is missing, RuntimeError where its process cannot start.
    """
    require_math_verify()
    return _POOL.verify(gold, answer, timeout)


class WorkerLost(Exception):  # noqa: N818  (caught within)
    """A worker died."""


class WorkerLate(Exception):  # noqa: N818  (caught within)
    """A worker did not answer in time, though it should have ended its child."""


class _Worker:
    """One worker process; used by one thread at a time."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.process = subprocess.Popen(
            [sys.executable, "-I", str(_SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.environ.get("PATH", ""), "OMP_NUM_THREADS": "1"},
            # Ctrl-C in a terminal must reach the trainer alone.
            start_new_session=True,
            bufsize=0,
        )
        # Isolated mode drops PYTHONPATH and the user's site directory, where math-verify may be.
        ready = self.ask([path for path in sys.path if path], _START_SECONDS)
        if ready != "ready":
            self.close()
            raise RuntimeError(f"The math-verify worker did not start: {ready}.")

    def ask(self, message: list, seconds: float) -> bool | str | None:
        stdin, stdout = self.process.stdin, self.process.stdout
        if stdin is None or stdout is None:
            raise WorkerLost
        try:
            stdin.write(json.dumps(message).encode() + b"\n")
            line = self._line(stdout.fileno(), time.monotonic() + seconds)
        except (OSError, ValueError) as error:
            raise WorkerLost from error
        return json.loads(line)

    def _line(self, descriptor: int, deadline: float) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            poller = select.poll()  # `select.select` fails on descriptors above 1023
            poller.register(descriptor, select.POLLIN)
            if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise WorkerLate
            chunk = os.read(descriptor, 4096)
            if not chunk:
                raise WorkerLost
            line += chunk
        return line

    def close(self) -> None:
        """Close its input, upon which it ends its child and itself; kill it where it does not."""
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        try:
            self.process.wait(timeout=_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class _Pool:
    """Idle workers, started when first needed; at most `_MAX_WORKERS` at once."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all workers: after a fork they belong to the parent."""
        self.lock = threading.Lock()
        self.free = threading.BoundedSemaphore(max(1, min(_MAX_WORKERS, os.cpu_count() or 1)))
        self.idle: list[_Worker] = []

    def verify(self, gold: str, answer: str, timeout: float) -> bool | None:
        with self.free:
            for _ in range(2):
                worker = self._take()
                try:
                    verdict = worker.ask([gold, answer, timeout], timeout + _GRACE_SECONDS)
                except WorkerLate:
                    worker.close()
                    return False
                except WorkerLost:
                    # Killed from outside, perhaps while idle: the pair deserves one more worker.
                    worker.close()
                    continue
                except BaseException:
                    worker.close()  # its reply would be taken for the next pair's
                    raise
                with self.lock:
                    self.idle.append(worker)
                return verdict if isinstance(verdict, bool) else None
        return False

    def _take(self) -> _Worker:
        with self.lock:
            if self.idle:
                return self.idle.pop()
        return _Worker()

    def close(self) -> None:
        with self.lock:
            idle, self.idle = self.idle, []
        for worker in idle:
            worker.close()


_POOL = _Pool()
atexit.register(_POOL.close)
os.register_at_fork(after_in_child=_POOL.reset)
