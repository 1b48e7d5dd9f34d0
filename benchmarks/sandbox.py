"""Programs tested per second: the sandbox, all layers on, against a fresh interpreter for each program.

    python benchmarks/sandbox.py
    python benchmarks/sandbox.py --memory

The two take turns, so that other work on the machine slows both; ratios are of their medians. `--memory` runs 10,000
programs and prints how much memory the sandbox's processes hold meanwhile.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mot_trl.sandbox import Job, ProgramRunner

WORKERS = 2
TESTS = ("assert add(1, 2) == 3", "assert add(20, 22) == 42", "assert add('x', 'y') == 'xy'")
PLAIN = "def add(a, b):\n    return a + b\n"
NUMPY = "import numpy as np\n\n\ndef add(a, b):\n    return a + b if isinstance(a, str) else int(np.add(a, b))\n"


def fresh(program: str) -> bool:
    """Test a program as most code does: run the file, and look at the exit status."""
    return (
        subprocess.run([sys.executable, "-I", "-c", "\n".join([program, *TESTS])], capture_output=True).returncode == 0
    )


def rate(test: Callable[[list[str]], list[bool]], program: str, count: int) -> float:
    """Programs per second."""
    started = time.perf_counter()
    passed = test([program] * count)
    if not all(passed):
        raise RuntimeError(f"{passed.count(False)} of {count} correct programs failed.")
    return count / (time.perf_counter() - started)


def in_sandbox(runner: ProgramRunner, programs: list[str]) -> list[bool]:
    """Test programs in the sandbox."""
    return [result.passed for result in runner.run_many([Job(p, TESTS, (("add", "add"),)) for p in programs])]


def compare(name: str, program: str, *, preload: tuple[str, ...], rounds: int, counts: tuple[int, int]) -> None:
    """Print both rates and their ratio; `counts` are programs per round, fresh and in the sandbox."""
    with ProgramRunner(workers=WORKERS, preload=preload) as runner, ThreadPoolExecutor(WORKERS) as pool:
        in_sandbox(runner, [program] * 2 * WORKERS)  # start the processes
        rates = [
            (
                rate(lambda programs: list(pool.map(fresh, programs)), program, counts[0]),
                rate(lambda programs: in_sandbox(runner, programs), program, counts[1]),
            )
            for _ in range(rounds)
        ]
        layers = [layer for layer, reason in runner.layers().items() if not reason]
    slow, fast = (statistics.median(column) for column in zip(*rates, strict=True))
    ratio = statistics.median(ours / theirs for theirs, ours in rates)
    print(f"{name}: {slow:.1f} programs/s fresh, {fast:.1f} in the sandbox: {ratio:.1f}x ({', '.join(layers)})")


def memory_mib(pid: int) -> float:
    """Proportional set size of a process and its descendants, in MiB; 0 for one that has just ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    own = next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return own / 1024 + sum(memory_mib(int(child)) for child in children)


def watch_memory(programs: int) -> None:
    """Run many programs, and print the memory of the sandbox's processes, and of this one, in MiB."""
    with ProgramRunner(workers=WORKERS) as runner:
        in_sandbox(runner, [PLAIN] * 2 * WORKERS)  # start the processes
        for done in range(0, programs + 1, programs // 10):
            held = sum(memory_mib(pid) for pid in runner.processes())
            own = int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20
            print(f"{done:>6} programs: sandbox {held:6.1f} MiB, this process {own:6.1f} MiB", flush=True)
            if done < programs:
                in_sandbox(runner, [PLAIN] * (programs // 10))


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.memory:
        watch_memory(10_000)
        return
    compare("plain", PLAIN, preload=(), rounds=arguments.rounds, counts=(40, 200))
    compare("numpy", NUMPY, preload=("numpy",), rounds=arguments.rounds, counts=(6, 100))


if __name__ == "__main__":
    main()
