"""Minimum non-negative sum (MNNS): choose signs for some numbers (CoT2, arXiv 2505.23648)."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence

from mot_trl.tasks.width.puzzle import Puzzle


def signed_sums(seed: int, *, numbers: int = 4, largest: int = 9) -> Iterator[Puzzle]:
    """`least 5 3 8 2`: the smallest non-negative sum of +-5 +-3 +-8 +-2, where numbers are from 1 to `largest`.

    Raises:
        ValueError: A setting is out of range.
    """
    if numbers < 2 or not 1 <= largest <= 99 // numbers:
        raise ValueError(
            f"numbers={numbers} up to largest={largest} is out of range: give at least 2 numbers, whose sum "
            "stays below 100."
        )
    generator = random.Random(f"signed sums {seed}")
    while True:
        yield puzzle([generator.randint(1, largest) for _ in range(numbers)], generator)


def partial_sums(numbers: Sequence[int]) -> list[Counter[int]]:
    """After each number, all sums of the numbers so far with any signs, and in how many ways each is reached."""
    sums = [Counter({0: 1})]
    for number in numbers:
        following: Counter[int] = Counter()
        for total, ways in sums[-1].items():
            following[total + number] += ways
            following[total - number] += ways
        sums.append(following)
    return sums[1:]


def puzzle(numbers: Sequence[int], generator: random.Random) -> Puzzle:
    """The puzzle of some numbers, with one of the best paths.

    Steps hold absolute values, each of which is one token; flipping all signs flips a sum, so they tell as much. The
    first number alone is no step: nothing is reached there but itself.
    """
    sums = partial_sums(numbers)
    frontiers = [[abs(total) for total in each.elements()] for each in sums[1:]]
    # Each signed sum has its mirror image; half of them make up the frontier.
    halves = [sorted(frontier)[::2] for frontier in frontiers]
    answer = min(halves[-1])
    path = [answer]
    for number, before in zip(reversed(numbers[2:]), reversed(halves[:-1]), strict=True):
        last = path[-1]
        path.append(generator.choice([total for total in before if last in (total + number, abs(total - number))]))
    text = f"least {' '.join(map(str, numbers))}"
    return Puzzle(text, str(answer), tuple(tuple(map(str, half)) for half in halves), tuple(map(str, reversed(path))))
