"""How close the judge's throughput comes to what the server's own delay allows.

Run: `python benchmarks/judge.py`. A mock server in a process of its own waits 50 ms before each reply; 1,000 distinct
pairs are judged with 32 requests at once, then the same batch again. Ideal is 32 waves of 50 ms: a server and a judge
that cost nothing. The floor is what the server takes of ready-made requests of the same size over 32 bare sockets: its
own cost and the machine's. Needs two free cores, one of which is the server's: `waiting` is the share of the time in
which something had to wait for a core, in the whole machine, and says how far a figure is the neighbours'.
"""

import argparse
import asyncio
import contextlib
import json
import math
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from mot_trl.rewards.judge import JudgeReward, Limits
from mot_trl.rewards.judge.client import Judge
from mot_trl.rewards.judge.prompt import JudgeRequest
from mot_trl.rewards.judge.reward import ANSWER_PROMPT, EQUALITY

SERVER = Path(__file__).parents[1] / "tests" / "rewards" / "mock_judge_server.py"
PRESSURE = Path("/proc/pressure/cpu")


class Timing(NamedTuple):
    """Seconds of a batch, of this process's CPU, of the same batch repeated, and the calls of each."""

    seconds: float
    cpu_seconds: float
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


def batch(pairs: int) -> tuple[list[str], list[str]]:
    """Completions, and golds that no rule can decide them by."""
    golds = [f"number {row} of the list" for row in range(pairs)]
    return [f"<answer>{gold}s</answer>" for gold in golds], golds


async def measure(url: str, *, pairs: int, concurrency: int) -> Timing:
    """Judge a batch twice."""
    reward = JudgeReward("mock", base_url=url, canary_every=None, limits=Limits(deadline=300, concurrency=concurrency))
    completions, golds = batch(pairs)
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
    return Timing(seconds, cpu_seconds, repeated_seconds, calls - before, int(reward.totals["calls"]) - calls)


async def floor(url: str, *, pairs: int, concurrency: int) -> float:
    """Seconds of a batch's requests, written beforehand, over bare sockets."""
    _, golds = batch(pairs)
    judge = Judge("mock", base_url=url)
    questions = [JudgeRequest(ANSWER_PROMPT, {"reference": gold, "answer": f"{gold}s"}, EQUALITY) for gold in golds]
    bodies = [judge.body(question, plain=False) for question in questions]
    requests = iter([_post(json.dumps(body).encode()) for body in bodies])
    address = urlsplit(url)
    lines = [await asyncio.open_connection(address.hostname, address.port) for _ in range(concurrency)]

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for request in requests:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(re.findall(rb"content-length: (\d+)", head)[0]))

    started = time.perf_counter()
    await asyncio.gather(*(send(*line) for line in lines))
    return time.perf_counter() - started


def _post(body: bytes) -> bytes:
    return b"POST /v1/chat/completions HTTP/1.1\r\nhost: mock\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


def waited() -> float:
    """Seconds since the machine started in which something waited for a core; nan where the system does not say."""
    return int(PRESSURE.read_text().split("total=")[1].split()[0]) / 1e6 if PRESSURE.exists() else math.nan


def main() -> None:
    """Print one line for each repetition, then the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--delay", type=float, default=0.05, help="the server's, in seconds")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    ideal = math.ceil(args.pairs / args.concurrency) * args.delay
    ratios: list[tuple[float, float]] = []
    for _ in range(args.repeats):
        with serving(delay=args.delay) as url:
            bare = asyncio.run(floor(url, pairs=args.pairs, concurrency=args.concurrency))
        with serving(delay=args.delay) as url:
            started, waited_before = time.perf_counter(), waited()
            timing = asyncio.run(measure(url, pairs=args.pairs, concurrency=args.concurrency))
            waiting = (waited() - waited_before) / (time.perf_counter() - started)
        ratios.append((timing.seconds / ideal, bare / ideal))
        print(
            f"{timing.calls} calls in {timing.seconds:.2f} s ({timing.cpu_seconds:.2f} s CPU), ideal {ideal:.2f} s: "
            f"{timing.seconds / ideal:.2f}x, floor {bare / ideal:.2f}x; repeated: {timing.repeated_calls} calls in "
            f"{timing.repeated_seconds:.3f} s; waiting {waiting:.0%}",
            flush=True,
        )
    judge, bare = (statistics.median(column) for column in zip(*ratios, strict=True))
    print(f"median: {judge:.2f}x the ideal, {judge / bare:.2f}x the floor")


if __name__ == "__main__":
    main()
