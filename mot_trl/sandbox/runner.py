"""ProgramRunner: run untrusted programs, a few at a time, in processes that can only compute."""

import os
import queue
import threading
import warnings
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Literal

from mot_trl.sandbox import codec
from mot_trl.sandbox.channel import ClosedError, DeadlineError
from mot_trl.sandbox.config import LAYERS
from mot_trl.sandbox.job import Job, Result, Score
from mot_trl.sandbox.worker import StartError, Worker

MAX_PROGRAM_BYTES = 1 << 20  # as UTF-8: three times this as JSON at most
# Either half keeps a program from files, processes and the network; together they also survive a hole in one of them.
_BASE = {"no_new_privs", "rlimits"}
_ENOUGH = (_BASE | {"landlock", "seccomp"}, _BASE | {"namespaces", "pids", "root"})


class ProgramRunner(AbstractContextManager["ProgramRunner"]):
    """Runs untrusted programs against trusted tests. Use it as a context manager, or `close` it.

    Safe to call from several threads. Starts its processes at the first job. Can be pickled, and used after a fork:
    the copy starts processes of its own.

    Args:
        workers: Programs run at a time; by default one for each CPU this process may use.
        timeout: Seconds of a program's own time, for all its tests together.
        test_timeout: Seconds of it for any one test, or for loading; by default, as many as for all.
        memory_mb: MiB of address space a program may add to that of a Python with `preload` imported.
        isolation: "strict" demands every layer that this user can have; "auto" takes seccomp with Landlock, or
            namespaces with a private root.
        preload: Modules to import once, before any program: for programs that import them (NumPy), or for `Score`.
        allow_weak_isolation: Run even where "auto" has too little, for instance on macOS. A hostile program can then
            do what you can.
        layers: Use only these, out of `mot_trl.sandbox.config.LAYERS`. For tests and for measuring.

    Raises:
        ValueError: At once, on arguments out of range.
        RuntimeError: At the first job, if the isolation asked for is not available.
    """

    def __init__(
        self,
        *,
        workers: int | None = None,
        timeout: float = 5.0,
        test_timeout: float | None = None,
        memory_mb: int = 512,
        isolation: Literal["auto", "strict"] = "auto",
        preload: Sequence[str] = (),
        allow_weak_isolation: bool = False,
        layers: Collection[str] = tuple(LAYERS),
    ) -> None:
        if isolation not in ("auto", "strict"):
            raise ValueError(f"Unknown isolation {isolation!r}; choose 'auto' or 'strict'.")
        test_timeout = timeout if test_timeout is None else test_timeout
        limits = {"timeout": timeout, "test_timeout": test_timeout, "memory_mb": memory_mb}
        if min(*limits.values(), 1 if workers is None else workers) <= 0:
            raise ValueError(
                f"workers={workers}, timeout={timeout}, test_timeout={test_timeout} and memory_mb={memory_mb} must be "
                "greater than zero."
            )
        cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.workers = workers or cpus
        self._isolation = isolation
        self._allow_weak = allow_weak_isolation
        self._settings = {**limits, "preload": list(preload), "layers": sorted(layers)}
        self._set_up()

    def _set_up(self) -> None:
        self._owner = os.getpid()
        self._workers = [Worker(self._settings) for _ in range(self.workers)]
        # Last in, first out: a few jobs at a time keep to the worker that `_check` starts, and to those started since.
        self._idle: queue.LifoQueue[Worker] = queue.LifoQueue()
        for worker in reversed(self._workers):
            self._idle.put(worker)
        self._checking = threading.Lock()
        self._checked = False

    def __reduce__(self) -> tuple[partial["ProgramRunner"], tuple[()]]:
        """Pickle the settings alone: a copy starts processes of its own."""
        options = {"workers": self.workers, "isolation": self._isolation, "allow_weak_isolation": self._allow_weak}
        return partial(ProgramRunner, **options, **self._settings), ()

    def __exit__(self, *_: object) -> None:
        """Close the runner."""
        self.close()

    def close(self) -> None:
        """End all processes. The runner may be used again."""
        for worker in self._workers:
            worker.kill()

    def processes(self) -> list[int]:
        """The process ids of the supervisors that run."""
        return [worker.process.pid for worker in self._workers if worker.process]

    def layers(self) -> dict[str, str]:
        """Each layer's name, with the reason why it is missing, or ""; fails as `run` does if too many are."""
        self._check()
        found = next(worker.layers for worker in self._workers if worker.layers)
        return {name: found["missing"].get(name, "") for name in LAYERS}

    def run(self, job: Job | Score) -> Result:
        """Run one job."""
        return self.run_many([job])[0]

    def score(self, function: str, *arguments: Any) -> Result:
        """Call a preloaded trusted function on untrusted data, in a sandboxed process: see `Score`."""
        return self.run(Score(function, arguments))

    def run_many(self, jobs: Iterable[Job | Score]) -> list[Result]:
        """Run jobs, `workers` at a time; results in the same order. Never raises because of what a program does."""
        jobs = list(jobs)
        self._check()
        stop = threading.Event()
        if len(jobs) <= 1 or self.workers == 1:
            return [self._run(job, stop) for job in jobs]
        with ThreadPoolExecutor(max_workers=min(self.workers, len(jobs))) as pool:
            try:
                return list(pool.map(self._run, jobs, [stop] * len(jobs)))
            except BaseException:  # Ctrl-C: the threads must not wait for programs to finish
                stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _check(self) -> None:
        """Start one worker and see whether its layers are enough; once in each process that uses this runner."""
        if os.getpid() != self._owner:
            self.close()
            self._set_up()
        with self._checking:
            if self._checked:
                return
            worker = self._workers[0]
            worker.start()
            self._check_layers(set(worker.layers["active"]), worker.layers["missing"])
            self._checked = True

    def _check_layers(self, active: set[str], missing: dict[str, str]) -> None:
        reasons = "; ".join(f"{layer} ({reason})" for layer, reason in sorted(missing.items())) or "nothing"
        complete = active >= set(LAYERS) - (set() if os.geteuid() == 0 else {"uid"})
        if self._isolation == "strict" and not complete:
            self.close()
            raise RuntimeError(f"isolation='strict' needs every layer, and this machine lacks: {reasons}.")
        if not self._allow_weak and not any(active >= enough for enough in _ENOUGH):
            self.close()
            raise RuntimeError(
                f"Programs cannot be isolated here, for lack of: {reasons}. Run on Linux with Landlock and seccomp, "
                "or with user namespaces; or accept that programs can do what you can: allow_weak_isolation=True."
            )
        if not complete:
            warnings.warn(f"The sandbox runs with fewer layers than it has; missing: {reasons}.", stacklevel=2)

    def _run(self, job: Job | Score, stop: threading.Event) -> Result:
        if isinstance(job, Job) and len(job.program.encode("utf-8", "surrogatepass")) > MAX_PROGRAM_BYTES:
            return Result("overflow", (False,) * len(job.tests), detail="The program is too long.")
        try:
            codec.dumps(message := job.message())
        except codec.CodecError as error:
            return Result("unsupported", detail=str(error))
        worker = self._idle.get()
        try:
            for _ in range(2):  # a killed zygote is no fault of this job: once more, with a new one
                try:
                    answer = worker.run(message, stop)
                    answer |= {"verdicts": tuple(answer["verdicts"]), "value": codec.decode(answer["value"])}
                    return Result(**answer)
                except DeadlineError:
                    return Result("timeout", detail="Its supervisor did not answer.")
                except (ClosedError, codec.CodecError, StartError) as error:
                    reason = str(error)
                if stop.is_set():
                    break
            return Result("error", detail=f"The sandbox failed: {reason}")
        finally:
            self._idle.put(worker)
