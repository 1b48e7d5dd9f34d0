"""Compare math grading with TRL's `accuracy_reward` and bare math-verify: pairs per second, and verdicts.

    python benchmarks/grading.py --data ../shared/data

DATA holds gsm8k/test.jsonl and math500/test.jsonl as on the hub. Half of the speed's pairs are right (the gold in a
box), half are another row's gold; no pair comes twice, so no cache helps. TRL and math-verify get each gold in
dollars, which is how they read it best.
"""

import argparse
import json
import logging
import random
import runpy
import time
from collections.abc import Callable
from pathlib import Path

from math_verify import parse, verify
from trl.rewards import accuracy_reward

from mot_trl.rewards.answer import final_answer
from mot_trl.rewards.math import MathReward

LISTS = Path(__file__).parents[1] / "tests" / "rewards" / "tricky_pairs.py"
Grader = Callable[[list[str], list[str]], list[float | None]]


def ours(texts: list[str], golds: list[str]) -> list[float | None]:
    """The reward of this library."""
    return MathReward()(completions=[[{"role": "assistant", "content": text}] for text in texts], answer=golds)


def trl(texts: list[str], golds: list[str]) -> list[float | None]:
    """TRL's reward."""
    completions = [[{"role": "assistant", "content": text}] for text in texts]
    return accuracy_reward(completions, solution=[f"${gold}$" for gold in golds])


def bare(texts: list[str], golds: list[str]) -> list[float | None]:
    """math-verify as its README shows it."""
    pairs = zip(texts, golds, strict=True)
    return [float(verify(parse(f"${gold}$"), parse(text))) for text, gold in pairs]


GRADERS: dict[str, Grader] = {"mot_trl": ours, "TRL accuracy_reward": trl, "math-verify": bare}


def golds_of(file: Path) -> list[str]:
    """The distinct final answers of a dataset."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]
    return sorted({row["answer"].rpartition("####")[2].strip() for row in rows})


def speed(name: str, golds: list[str], limit: int) -> None:
    """Print the pairs per second of each grader on one dataset."""
    numbers = random.Random(0)
    pairs = sorted({(gold, other) for gold in golds for other in (gold, numbers.choice(golds))})
    numbers.shuffle(pairs)
    pairs = pairs[:limit]
    texts, answers = [rf"<think>so</think> \boxed{{{other}}}" for _, other in pairs], [gold for gold, _ in pairs]
    rates = {}
    for grader, grade in GRADERS.items():
        grade([r"\boxed{\log_2 8}"], ["3"])  # the imports and the worker's start
        start = time.perf_counter()
        grade(texts, answers)
        rates[grader] = len(pairs) / (time.perf_counter() - start)
    for grader, rate in rates.items():
        print(f"| {name} ({len(pairs)} pairs) | {grader} | {rate:,.0f} | {rates['mot_trl'] / rate:.1f}x |")


def tricky() -> None:
    """Print how many of the tricky pairs each grader gets right."""
    lists = runpy.run_path(str(LISTS))
    pairs = lists["PAIRS"] + lists["COMPLETIONS"]
    # In a box, as a model writes it; what no box can hold is judged as it stands.
    boxed = [(pair.answer, rf"\boxed{{{pair.answer}}}") for pair in lists["PAIRS"]]
    texts = [answer if final_answer(box) is None else box for answer, box in boxed]
    texts += [pair.answer for pair in lists["COMPLETIONS"]]
    for grader, grade in GRADERS.items():
        verdicts = [reward == 1.0 for reward in grade(texts, [pair.gold for pair in pairs])]
        paid = sum(verdict and not pair.same for verdict, pair in zip(verdicts, pairs, strict=True))
        missed = sum(pair.same and not verdict for verdict, pair in zip(verdicts, pairs, strict=True))
        right = len(pairs) - paid - missed
        print(f"| {grader} | {right} of {len(pairs)} | {right / len(pairs):.1%} | {paid} | {missed} |")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of gsm8k/ and math500/")
    parser.add_argument("--limit", type=int, default=600, help="pairs of each dataset (default: 600)")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)

    print("| pairs | grader | pairs/s | ours is faster by |\n| --- | --- | ---: | ---: |")
    speed("GSM8K", golds_of(arguments.data / "gsm8k" / "test.jsonl"), arguments.limit)
    speed("MATH-500", golds_of(arguments.data / "math500" / "test.jsonl"), arguments.limit)
    print("\n| grader | right | | paid though wrong | unpaid though right |\n| --- | ---: | ---: | ---: | ---: |")
    tricky()


if __name__ == "__main__":
    main()
