"""The process that runs math-verify: started by path, never imported, so that it shares nothing with the trainer.

Two processes: this one imports math-verify, reads jobs and keeps the time; it never looks at an answer itself. Its
child does, under resource limits, and is killed and forked anew (milliseconds, where a start takes a second) when it
is late.

Both ways one JSON value a line: first in, the import path; first out, "ready" or why not; then `[gold, answer,
seconds]` against `true`, `false`, or `null` (the gold is unreadable).
"""

import contextlib
import ctypes
import io
import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable

MEMORY = 2 << 30  # bytes of address space
POLL = 0.5  # seconds between looks at whether the parent lives


def main() -> None:
    """Serve jobs until standard input closes or the parent is gone."""
    parent = os.getppid()
    requests, replies = os.fdopen(0, "rb", buffering=0), os.fdopen(os.dup(1), "wb", buffering=0)
    sys.path[:] = json.loads(read_line(requests) or "[]")
    os.dup2(os.open(os.devnull, os.O_RDWR), 1)
    try:
        import math_verify  # noqa: F401
    except Exception as error:
        replies.write(json.dumps(f"{type(error).__name__}: {error}").encode() + b"\n")
        return
    replies.write(b'"ready"\n')
    child = None
    while True:
        # Closed when the parent ends, unless a process that it forked keeps it open: hence the look at `getppid`.
        ready, _, _ = select.select([requests], [], [], POLL)
        line = read_line(requests) if ready else b""
        if (ready and not line) or os.getppid() != parent:
            break
        if line:
            child = child or Child()
            reply = child.judge(line, json.loads(line)[2], lambda: os.getppid() != parent or is_readable(requests))
            if reply is None:
                child.kill()
                child, reply = None, b"false\n"
            with contextlib.suppress(BrokenPipeError):
                replies.write(reply)
    if child is not None:
        child.kill()


class Child:
    """A forked process that judges pairs, one at a time."""

    def __init__(self) -> None:
        """Fork it; it inherits the imported math-verify."""
        job_out, self.jobs = os.pipe()
        self.verdicts, verdict_in = os.pipe()
        keeper = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.jobs)
            os.close(self.verdicts)
            try:
                confine(keeper)
                judge_all(job_out, verdict_in)
            finally:
                os._exit(0)
        os.close(job_out)
        os.close(verdict_in)

    def judge(self, line: bytes, seconds: float, abandoned: Callable[[], bool]) -> bytes | None:
        """The child's reply, or None where it is late, has died, or nobody waits for it any more."""
        deadline = time.monotonic() + seconds
        with contextlib.suppress(BrokenPipeError):
            os.write(self.jobs, line)
        while (left := deadline - time.monotonic()) > 0 and not abandoned():
            ready, _, _ = select.select([self.verdicts], [], [], min(left, POLL))
            if ready:
                return os.read(self.verdicts, 64) or None
        return None

    def kill(self) -> None:
        """End it, whatever it is doing."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.jobs)
        os.close(self.verdicts)


def confine(keeper: int) -> None:
    """Limit what a runaway expression can take, and die with the keeper even while computing."""
    os.close(0)
    for limit, value in [(resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)]:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(limit, (value, value))
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG, on Linux
    if os.getppid() != keeper:
        os._exit(0)


def judge_all(jobs: int, verdicts: int) -> None:
    """Answer each line of `jobs` with its verdict."""
    with os.fdopen(jobs, "rb", buffering=0) as lines:
        while line := read_line(lines):
            gold, answer, _ = json.loads(line)
            try:
                verdict = judge(gold, answer)
            except (Exception, RecursionError):
                verdict = False
            os.write(verdicts, json.dumps(verdict).encode() + b"\n")


def judge(gold: str, answer: str) -> bool | None:
    """Whether math-verify calls the two equal; None where the gold does not equal itself."""
    from math_verify import verify

    golds = parsed(gold)
    if not golds or not verify(golds, golds, timeout_seconds=None):
        return None
    return bool(verify(golds, parsed(answer), float_rounding=12, timeout_seconds=None, allow_set_relation_comp=True))


def parsed(text: str) -> list:
    """The text as sympy expressions, by the LaTeX grammar alone: math-verify's other reader ends in `eval`."""
    from latex2sympy2_extended import NormalizationConfig
    from math_verify import LatexExtractionConfig, parse

    if text not in CACHE:
        normalization = NormalizationConfig(
            basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="all"
        )
        config = LatexExtractionConfig(boxed_match_priority=0, normalization_config=normalization)
        if len(CACHE) > 512:
            CACHE.clear()
        CACHE[text] = parse(f"\\boxed{{{text}}}", [config], fallback_mode="no_fallback", parsing_timeout=0)
    return CACHE[text]


def is_readable(stream: io.RawIOBase) -> bool:
    """Whether there is something to read, be it the end."""
    return bool(select.select([stream], [], [], 0)[0])


def read_line(stream: io.RawIOBase) -> bytes:
    """One line, or b"" at the end."""
    return stream.readline()


CACHE: dict[str, list] = {}

if __name__ == "__main__":
    main()
