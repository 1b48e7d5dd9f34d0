"""ProgramRunner: runs untrusted programs, a few at a time, in processes that can do nothing but compute."""

import json
import os
import queue
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, Self

from mot_trl.sandbox import codec
from mot_trl.sandbox import config as confinement
from mot_trl.sandbox.channel import Channel, ClosedError, Deadline, DeadlineError
from mot_trl.sandbox.job import Job, Result, Score
from mot_trl.sandbox.stopwatch import PATIENCE

MAX_PROGRAM_CHARACTERS = 1 << 20
_START_SECONDS = 120
# On top of what the supervisor allows: when this is over, the supervisor itself hangs.
_GRACE_SECONDS = 10
_STOP_CHECK_SECONDS = 0.2

Isolation = Literal["auto", "strict"]


class StartError(RuntimeError):
    """The sandbox's own processes do not start."""


class _Stoppable:
    """A deadline that can be called off from another thread."""

    def __init__(self, seconds: float, stop: threading.Event | None) -> None:
        self._deadline = Deadline(seconds)
        self._stop = stop

    def remaining(self) -> float:
        if self._stop is None:
            return self._deadline.remaining()
        if self._stop.is_set():
            raise ClosedError("stopped")
        return min(self._deadline.remaining(), _STOP_CHECK_SECONDS)


class _Slot:
    """One supervisor with its zygote, which runs one job at a time; started when needed, and when it has died."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self.layers: dict[str, Any] = {}

    @property
    def pid(self) -> int:
        """The supervisor's process id; 0 where there is none."""
        return 0 if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the processes, unless it runs. Raises StartError."""
        if self._process is not None and self._process.poll() is None:
            return
        self.kill()
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-I", str(Path(__file__).with_name("bootstrap.py")), str(theirs.fileno())]
        # One thread, as only those can be forked; symbols bound at once, rather than again in every fork.
        environment = {"LANG": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "LD_BIND_NOW": "1"}
        if "LD_LIBRARY_PATH" in os.environ:
            environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
        with theirs:
            self._process = subprocess.Popen(
                # Isolated mode drops PYTHONPATH and the user's site directory, where modules to preload may be.
                [*command, json.dumps({**self._settings, "path": [entry for entry in sys.path if entry]})],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
                cwd="/",
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # Ctrl-C is for the trainer, which then ends the zygote
            )
        self._channel = Channel(ours.detach(), limit=2 * codec.MAX_BYTES)
        try:
            hello = self._channel.receive(Deadline(_START_SECONDS))
        except (OSError, codec.CodecError) as error:
            self.kill()
            raise StartError(f"The sandbox does not start: {error}") from None
        if "error" in hello:
            self.kill()
            raise StartError(f"The sandbox does not start: {hello['error']}")
        self.layers = hello

    def run(self, message: dict[str, Any], stop: threading.Event | None) -> dict[str, Any]:
        """The supervisor's answer. Raises ClosedError or DeadlineError, with the processes gone, if none comes.

        Args:
            message: The job.
            stop: Once set, this raises ClosedError soon.
        """
        try:
            self.start()
            if self._channel is None:
                raise ClosedError("stopped")
            deadline = _Stoppable(PATIENCE * self._settings["timeout"] + _GRACE_SECONDS, stop)
            self._channel.send(message, deadline)
            return self._channel.receive(deadline)
        except BaseException:  # Ctrl-C, too: an unfinished job must not run on
            self.kill()
            raise

    def kill(self) -> None:
        """End the supervisor at once. The kernel ends the zygote with it, and the program with that."""
        process, channel = self._process, self._channel
        self._process = self._channel = None
        if process is not None:
            process.kill()
            process.wait()
        if channel is not None:
            channel.close()

    def forget(self) -> None:
        """Let go of a supervisor that belongs to the process this one was forked from."""
        if self._channel is not None:
            self._channel.close()
        if self._process is not None:
            self._process.returncode = 0  # not our child: never wait for it
        self._process = self._channel = None


class ProgramRunner:
    """Runs untrusted programs against trusted tests. Use it as a context manager, or `close` it.

    Safe to call from several threads. Starts its processes at the first job. Can be pickled, and used after a fork:
    the copy starts processes of its own.

    Args:
        workers: Programs run at a time; by default one for each processor this process may use.
        timeout: Seconds of a program's own time, for all its tests together.
        test_timeout: Seconds of it for any one test, or for loading; by default, as many as for all.
        memory_mb: MiB of address space a program may add to that of a Python with `preload` imported.
        isolation: "strict" demands every layer that this user can have; "auto" takes seccomp with Landlock, or
            namespaces with a private root.
        preload: Modules to import once, before any program: for programs that import them (NumPy), or for `Score`.
        allow_weak_isolation: Run even where "auto" has too little, for instance on macOS. A hostile program can then
            do what you can.
        layers: Use only these, out of `mot_trl.sandbox.config.ALL`. For tests and for measuring.

    Raises:
        ValueError: At once, on arguments out of range.
        RuntimeError: At the first job, if the isolation asked for is not to be had.
    """

    def __init__(
        self,
        *,
        workers: int | None = None,
        timeout: float = 5.0,
        test_timeout: float | None = None,
        memory_mb: int = 512,
        isolation: Isolation = "auto",
        preload: Sequence[str] = (),
        allow_weak_isolation: bool = False,
        layers: Collection[str] = confinement.ALL,
    ) -> None:
        """Keep the settings; no process starts yet."""
        if isolation not in ("auto", "strict"):
            raise ValueError(f"Unknown isolation {isolation!r}; choose 'auto' or 'strict'.")
        test_timeout = timeout if test_timeout is None else test_timeout
        if min(timeout, test_timeout, memory_mb, 1 if workers is None else workers) <= 0:
            raise ValueError(
                f"workers={workers}, timeout={timeout}, test_timeout={test_timeout} and memory_mb={memory_mb} must be "
                "greater than zero."
            )
        self.workers = workers or _processors()
        self._isolation = isolation
        self._allow_weak = allow_weak_isolation
        self._settings = {
            "timeout": timeout,
            "test_timeout": test_timeout,
            "memory_mb": memory_mb,
            "preload": list(preload),
            "layers": sorted(layers),
        }
        self._set_up()

    def _set_up(self) -> None:
        self._owner = os.getpid()
        self._slots = [_Slot(self._settings) for _ in range(self.workers)]
        self._idle: queue.LifoQueue[_Slot] = queue.LifoQueue()
        # Last in, first out: the slot that `_check` starts is the first to get a job.
        for slot in reversed(self._slots):
            self._idle.put(slot)
        self._checking = threading.Lock()
        self._checked = False

    def __getstate__(self) -> dict[str, Any]:
        """What a copy needs to start processes of its own."""
        return {name: self.__dict__[name] for name in ("workers", "_isolation", "_allow_weak", "_settings")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Make an idle runner with the same settings."""
        self.__dict__.update(state)
        self._set_up()

    def __enter__(self) -> Self:
        """Return the runner."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the runner."""
        self.close()

    def close(self) -> None:
        """End all processes. The runner may be used again."""
        if os.getpid() == self._owner:
            for slot in self._slots:
                slot.kill()

    def processes(self) -> list[int]:
        """The process ids of the supervisors that run."""
        return [slot.pid for slot in self._slots if slot.pid]

    def layers(self) -> dict[str, str]:
        """Each layer's name, and why it is missing, or ""; raises RuntimeError where too many are."""
        self._check()
        hello = next(slot.layers for slot in self._slots if slot.layers)
        return {name: hello["missing"].get(name, "") for name in confinement.ALL}

    def run(self, job: Job | Score) -> Result:
        """Run one job."""
        return self.run_many([job])[0]

    def score(self, function: str, *arguments: Any) -> Result:
        """Call a preloaded trusted function on untrusted data, in a confined process: see `Score`."""
        return self.run(Score(function, arguments))

    def run_many(self, jobs: Iterable[Job | Score]) -> list[Result]:
        """Run jobs, `workers` at a time; results in the same order. Never raises because of what a program does."""
        jobs = list(jobs)
        self._check()
        if len(jobs) <= 1 or self.workers == 1:
            return [self._run(job) for job in jobs]
        stop = threading.Event()
        with ThreadPoolExecutor(max_workers=min(self.workers, len(jobs))) as pool:
            futures = [pool.submit(self._run, job, stop) for job in jobs]
            try:
                return [future.result() for future in futures]
            except BaseException:  # Ctrl-C: the threads must not wait for programs to finish
                stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _check(self) -> None:
        if os.getpid() != self._owner:
            for slot in self._slots:
                slot.forget()
            self._set_up()
        with self._checking:
            if self._checked:
                return
            slot = self._slots[0]
            slot.start()
            self._judge_layers(set(slot.layers["active"]), slot.layers["missing"])
            self._checked = True

    def _judge_layers(self, active: set[str], missing: dict[str, str]) -> None:
        reasons = "; ".join(f"{layer} ({reason})" for layer, reason in sorted(missing.items())) or "nothing"
        needed = set(confinement.ALL) - (set() if os.geteuid() == 0 else {"uid"})
        enough = {"landlock", "seccomp", "no_new_privs", "rlimits"} <= active or {
            "namespaces",
            "pids",
            "root",
            "no_new_privs",
            "rlimits",
        } <= active
        if self._isolation == "strict" and not needed <= active:
            self.close()
            raise RuntimeError(f"isolation='strict' needs every layer, and this machine lacks: {reasons}.")
        if not enough and not self._allow_weak:
            self.close()
            raise RuntimeError(
                f"Programs cannot be isolated here, for lack of: {reasons}. Run on Linux with Landlock and seccomp, "
                "or with user namespaces; or accept that programs can do what you can: allow_weak_isolation=True."
            )
        if not needed <= active:
            warnings.warn(f"The sandbox runs with fewer layers than it has; missing: {reasons}.", stacklevel=2)

    def _run(self, job: Job | Score, stop: threading.Event | None = None) -> Result:
        if isinstance(job, Job) and len(job.program) > MAX_PROGRAM_CHARACTERS:
            return Result("overflow", (False,) * len(job.tests), detail="The program is too long.")
        try:
            message = job.message()
            codec.dumps(message)
        except codec.CodecError as error:
            return Result("unsupported", detail=str(error))
        slot = self._idle.get()
        try:
            for _ in range(2):  # a killed zygote is no fault of this job: once more, with a new one
                try:
                    return _result(slot.run(message, stop))
                except DeadlineError:
                    return Result("timeout", detail="Its supervisor did not answer.")
                except (ClosedError, codec.CodecError, StartError) as error:
                    reason = str(error)
                if stop is not None and stop.is_set():
                    break
            return Result("error", detail=f"The sandbox failed: {reason}")
        finally:
            self._idle.put(slot)


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _result(answer: dict[str, Any]) -> Result:
    answer["verdicts"] = tuple(answer["verdicts"])
    answer["value"] = codec.decode(answer["value"])
    return Result(**answer)
