"""Demonstrations of reasoning about nano's puzzles, from careful to careless.

Carelessness is `skip`, the probability of leaving out a step. At 0 the answer is always correct; in between it follows
from the steps that are left; at 1 it is a guess. Wherever steps commute, their order is random, so even careful
demonstrations vary.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from mot_trl.rewards.answer import ANSWER_CLOSE, ANSWER_OPEN, THINK_CLOSE, THINK_OPEN
from mot_trl.tasks.nano.puzzles import LARGEST_TERM, TASKS, Question, questions

WAYS = {0.0: 0.45, 0.5: 0.25, 1.0: 0.3}
"""The mixture to pretrain on: `skip`, and its share of the demonstrations."""

CAREFUL = {0.0: 1.0}
"""Careful demonstrations only."""


class Demonstration(NamedTuple):
    """A question and a completion, correct or not."""

    question: str
    completion: str


class Thought(NamedTuple):
    """Reasoning steps as words, and the answer that follows from them."""

    steps: list[str]
    answer: str


def demonstrations(
    *, seed: int = 0, ways: Mapping[float, float] = WAYS, pool: int = 10_000, tasks: Sequence[str] = tuple(TASKS)
) -> Iterator[Demonstration]:
    """Yield demonstrations on the train split endlessly, families in turn; each family repeats `pool` questions."""
    sources = {name: questions(name, seed=seed) for name in tasks}
    pools: dict[str, list[Question]] = {name: [] for name in tasks}
    generator = random.Random(f"demonstrations {seed}")
    position = 0
    while True:
        for name in tasks:
            if len(pools[name]) < pool:
                pools[name].append(next(sources[name]))
            question = pools[name][position % pool]
            (skip,) = generator.choices(list(ways), weights=list(ways.values()))
            yield Demonstration(question.text, demonstrate(name, question.text, skip=skip, generator=generator))
        position += 1


def demonstrate(name: str, question: str, *, skip: float, generator: random.Random) -> str:
    """Write a completion to a question of family `name`, leaving out steps with probability `skip`."""
    thought = THOUGHTS[name](question.split()[1:], skip, generator)
    thinking = " ".join(thought.steps)
    return f"{THINK_OPEN}{thinking and ' '}{thinking}{THINK_CLOSE}{ANSWER_OPEN}{thought.answer}{ANSWER_CLOSE}"


def think_sum(words: list[str], skip: float, generator: random.Random) -> Thought:
    """Add the terms in any order that keeps totals non-negative: `+7 7 -1 6 +4 10`."""
    terms = [word for word in words if generator.random() >= skip]
    total, steps = 0, []
    while possible := [term for term in terms if total + int(term) >= 0]:
        term = generator.choice(possible)
        terms.remove(term)
        total += int(term)
        steps += [term, str(total)]
    return Thought(steps, str(total if steps else generator.randint(0, 20)))


def think_gcd(words: list[str], skip: float, generator: random.Random) -> Thought:
    """Replace the larger number by the difference or the remainder until one is 0: `18 10 10 8 2 8 0 2`."""
    small, large = sorted(map(int, words))
    steps: list[str] = []
    while small not in (0, large) and generator.random() >= skip:
        subtract = large < 3 * small and generator.random() < 0.5
        pair = [small, large - small if subtract else large % small]
        small, large = sorted(pair)
        generator.shuffle(pair)
        steps += map(str, pair)
    return Thought(steps, str((small or large) if steps or small == large else generator.randint(1, 9)))


def think_count(words: list[str], skip: float, generator: random.Random) -> Thought:
    """Spell the text and count each occurrence of the letter: `geese` as `g e 1 e 2 s e 3`."""
    letter, text = words[0].rstrip(":"), "".join(words[1:])
    count, steps = 0, []
    for character in text:
        if generator.random() < skip:
            continue
        count += character == letter
        steps += [character, str(count)] if character == letter else [character]
    return Thought(steps, str(count if steps else generator.randint(1, 3)))


def think_sort(words: list[str], skip: float, generator: random.Random) -> Thought:
    """Name the rank of each number, in any order: `13 2 29 4 2 1 23 3`."""
    ordered = sorted(words, key=int)
    placed = [word for word in generator.sample(words, len(words)) if generator.random() >= skip]
    steps = [text for word in placed for text in (word, str(ordered.index(word) + 1))]
    if len(placed) < len(words) and generator.random() < 0.8:
        first, second = generator.sample(range(len(words)), 2)
        ordered[first], ordered[second] = ordered[second], ordered[first]
    return Thought(steps, " ".join(ordered))


def think_reach(words: list[str], skip: float, generator: random.Random) -> Thought:
    """Visit neighbors of any visited node until a goal is found: `b d f g`; careless search never backtracks."""
    split = next(place for place, word in enumerate(words) if word.endswith(":"))
    goals = [word.rstrip(":") for word in words[2 : split + 1]]
    edges, visited = words[split + 1 :], [words[0]]
    while visited[-1] not in goals and generator.random() >= skip:
        sources = visited if skip == 0 else visited[-1:]
        ahead = [edge[1] for edge in edges if edge[0] in sources and edge[1] not in visited]
        if not ahead:
            break
        visited.append(generator.choice(ahead))
    return Thought(visited[1:], visited[-1] if visited[-1] in goals else generator.choice(goals))


def think_signed(words: list[str], skip: float, generator: random.Random) -> Thought:
    """Sum and difference of two numbers, then their distances to the third: `5 12 17 7 9 8 2`; careless: only one."""
    if generator.random() < skip and skip == 1:
        return Thought([], str(generator.randint(0, LARGEST_TERM // 2)))
    first, second, third = generator.sample([int(word) for word in words], 3)
    totals = [first + second, abs(first - second)]
    generator.shuffle(totals)
    if generator.random() < skip:
        del totals[1]
    left = [abs(total - third) for total in totals]
    return Thought([str(number) for number in (first, second, *totals, third, *left)], str(min(left)))


THOUGHTS: dict[str, Callable[[list[str], float, random.Random], Thought]] = {
    "sum": think_sum,
    "gcd": think_gcd,
    "count": think_count,
    "sort": think_sort,
    "reach": think_reach,
    "signed": think_signed,
}
