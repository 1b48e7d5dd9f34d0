"""What a strategy costs: `draw` and `log_prob` as ratios to one multinomial draw from the same softmax.

Run `python benchmarks/strategies.py`, about three minutes on a free core. All are timed in turn, A B A B, and the
ratio is that of the medians. Log-probabilities are given: every sampler needs them.
"""

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mot_trl.strategies import STRATEGIES, Strategy, build_strategy
from mot_trl.strategies.mixture import Mixture

REPEATS = 3


def main() -> None:
    """Measure every case, and print a line for each strategy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object a case")
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES), choices=list(STRATEGIES))
    parser.add_argument("--vocabularies", nargs="+", type=int, default=[32_000, 152_000])
    parser.add_argument("--rows", nargs="+", type=int, default=[16, 256])
    parser.add_argument("--k", nargs="+", type=int, default=[1, 2, 4, 8, 16])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    sizes = list(itertools.product(arguments.vocabularies, arguments.rows))
    measured: dict[str, list[list[dict[str, float]]]] = {name: [] for name in arguments.strategies}
    for vocabulary, rows in sizes:
        logps = (4 * torch.randn(rows, vocabulary, device=arguments.device)).log_softmax(dim=-1)
        for name, cases in measured.items():
            cases.append(compare([build_strategy(name, k=k) for k in arguments.k], logps))
            if arguments.json:
                for k, case in zip(arguments.k, cases[-1], strict=True):
                    print(json.dumps({"vocabulary": vocabulary, "rows": rows, "strategy": name, "k": k, **case}))
    if not arguments.json:
        print(table(measured, sizes))


def compare(strategies: Sequence[Strategy], logps: Tensor) -> list[dict[str, float]]:
    """Of each strategy: `draw`, and `log_prob` with its gradient, as ratios to one multinomial draw."""
    mixtures = [strategy.draw(logps) for strategy in strategies]
    records = [logps.gather(-1, mixture.candidate_ids).requires_grad_() for mixture in mixtures]

    def score(strategy: Strategy, record: Tensor, mixture: Mixture) -> None:
        strategy.log_prob(record, mixture).sum().backward()

    draws = [partial(strategy.draw, logps) for strategy in strategies]
    scores = [partial(score, *each) for each in zip(strategies, records, mixtures, strict=True)]
    timings = timed_in_turn([lambda: torch.multinomial(logps.exp(), 1), *draws, *scores])
    base, *ours = (statistics.median(timing) for timing in timings)
    pairs = zip(ours[: len(draws)], ours[len(draws) :], strict=True)
    return [
        {"multinomial_ms": base * 1e3, "draw": draw / base, "log_prob": log_prob / base} for draw, log_prob in pairs
    ]


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


def table(measured: dict[str, list[list[dict[str, float]]]], sizes: Sequence[tuple[int, int]]) -> str:
    """A row for each strategy: from its cheapest to its dearest number of candidates, at each vocabulary x rows."""
    titles = ["strategy", *(f"draw, {vocabulary:,} x {rows}" for vocabulary, rows in sizes), "log_prob at most"]
    lines = [f"| {' | '.join(titles)} |", f"| --- {'| ---: ' * (len(titles) - 1)}|"]
    for name, cases in measured.items():
        draws = [[case["draw"] for case in size] for size in cases]
        cells = [f"{min(ratios):.2f}-{max(ratios):.2f}" for ratios in draws]
        dearest = max(case["log_prob"] for size in cases for case in size)
        lines.append(f"| {' | '.join([name, *cells, f'{dearest:.2f}'])} |")
    base = [cases[0]["multinomial_ms"] for cases in next(iter(measured.values()))]
    lines.append(f"| one multinomial draw, ms | {' | '.join(f'{each:.1f}' for each in base)} | |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
