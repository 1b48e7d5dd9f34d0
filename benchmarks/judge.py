"""How close the judge's throughput comes to what the server's own delay allows.

Run: `python benchmarks/judge.py`. A mock server in a process of its own waits 50 ms before each reply; 1,000 distinct
pairs are judged with 32 requests at once, then the same batch again. Needs two free cores: one is the server's.
"""

import argparse
import asyncio
import contextlib
import math
import os
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple

from mot_trl.grading.judge import JudgeReward, Limits

SERVER = Path(__file__).parents[1] / "tests" / "grading" / "mock_judge_server.py"


class Timing(NamedTuple):
    """Seconds of a batch, of this process's CPU, of the ideal, and of the same batch repeated; the calls of each."""

    seconds: float
    cpu_seconds: float
    ideal: float
    repeated_seconds: float
    calls: int
    repeated_calls: int


@contextlib.contextmanager
def serving(*, delay: float) -> Generator[str]:
    """The base URL of a mock judge in a process of its own."""
    process = subprocess.Popen([sys.executable, SERVER, "--delay", str(delay)], stdout=subprocess.PIPE, text=True)
    try:
        yield (process.stdout.readline() if process.stdout else "").strip()
    finally:
        process.kill()
        process.wait()


async def measure(url: str, *, pairs: int, concurrency: int, delay: float) -> Timing:
    """Judge `pairs` distinct pairs that the rules cannot decide, twice."""
    reward = JudgeReward("mock", base_url=url, canary_every=None, limits=Limits(deadline=300, concurrency=concurrency))
    golds = [f"number {row} of the list" for row in range(pairs)]
    completions = [f"<answer>{gold}s</answer>" for gold in golds]
    # The import of the client, and the first connections, are paid once in a training.
    await reward(completions=["<answer>an apple</answer>"] * 2, answer=["an orange", "a plum"])
    before = int(reward.totals["calls"])
    started, cpu_started = time.perf_counter(), time.process_time()
    await reward(completions=completions, answer=golds)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    calls = int(reward.totals["calls"])
    started = time.perf_counter()
    rewards = await reward(completions=completions, answer=golds)
    repeated_seconds = time.perf_counter() - started
    if rewards != [0.0] * pairs:
        raise RuntimeError("The mock judge's verdicts did not all arrive.")
    ideal = math.ceil(pairs / concurrency) * delay
    return Timing(seconds, cpu_seconds, ideal, repeated_seconds, calls - before, int(reward.totals["calls"]) - calls)


def main() -> None:
    """Print one line for each repetition."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--delay", type=float, default=0.05, help="the server's, in seconds")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    for _ in range(args.repeats):
        with serving(delay=args.delay) as url:
            timing = asyncio.run(measure(url, pairs=args.pairs, concurrency=args.concurrency, delay=args.delay))
        ratio = timing.seconds / timing.ideal
        print(
            f"{timing.calls} calls in {timing.seconds:.2f} s ({timing.cpu_seconds:.2f} s CPU), "
            f"ideal {timing.ideal:.2f} s: {ratio:.2f}x; repeated: {timing.repeated_calls} calls in "
            f"{timing.repeated_seconds:.3f} s (load {os.getloadavg()[0]:.1f})"
        )


if __name__ == "__main__":
    main()
