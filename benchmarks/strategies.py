"""What a strategy costs: `draw` and `log_prob` as ratios to one multinomial draw from the same softmax.

Run `python benchmarks/strategies.py`; `--json` prints one object a line for machines, `--quick` fewer cases. Both
are timed in turn, A B A B, and the ratio is that of the medians. Log-probabilities are given: every sampler needs
them.
"""

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mot_trl.strategies import STRATEGIES, Strategy, build_strategy

VOCABULARIES = (32_000, 152_000)
ROWS = (16, 256)
CANDIDATES = (1, 2, 4, 8, 16)
REPEATS = 3


def main() -> None:
    """Print a line for each vocabulary, number of rows, strategy and number of candidates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument("--quick", action="store_true", help="16 rows, 2 and 16 candidates")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    cases = list(itertools.product(VOCABULARIES, ROWS))
    for vocabulary, rows in (cases[0], cases[2]) if arguments.quick else cases:
        logps = (4 * torch.randn(rows, vocabulary, device=arguments.device)).log_softmax(dim=-1)
        for name in STRATEGIES:
            for k in (2, 16) if arguments.quick else CANDIDATES:
                report = compare(build_strategy(name, k=k), logps)
                line = {"vocabulary": vocabulary, "rows": rows, "strategy": name, "k": k, **report}
                print(json.dumps(line) if arguments.json else render(line), flush=True)


def compare(strategy: Strategy, logps: Tensor) -> dict[str, float]:
    """Milliseconds of one multinomial draw, and the strategy's `draw` and `log_prob` with gradient as ratios to it."""
    mixture = strategy.draw(logps)
    candidate_logps = logps.gather(-1, mixture.candidate_ids).requires_grad_()

    def score() -> None:
        strategy.log_prob(candidate_logps, mixture).sum().backward()

    def baseline() -> None:
        torch.multinomial(logps.exp(), 1)

    timings = timed_in_turn([baseline, lambda: strategy.draw(logps), score])
    base, draw, log_prob = (statistics.median(timing) for timing in timings)
    return {"multinomial_ms": base * 1e3, "draw": draw / base, "log_prob": log_prob / base}


def timed_in_turn(functions: list[Callable[[], Any]]) -> list[list[float]]:
    """Seconds that each function takes, `REPEATS` times in turn after one unmeasured turn."""
    timings: list[list[float]] = [[] for _ in functions]
    for turn in range(REPEATS + 1):
        for function, timing in zip(functions, timings, strict=True):
            start = time.perf_counter()
            function()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn:
                timing.append(time.perf_counter() - start)
    return timings


def render(line: dict[str, Any]) -> str:
    """One case as text."""
    case = f"V={line['vocabulary']:<7} N={line['rows']:<4} {line['strategy']:20} k={line['k']:<3}"
    return f"{case} draw {line['draw']:6.2f}x  log_prob {line['log_prob']:6.2f}x  of {line['multinomial_ms']:8.2f} ms"


if __name__ == "__main__":
    main()
