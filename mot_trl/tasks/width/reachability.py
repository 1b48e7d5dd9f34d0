"""Reachability in trees: which of several goals hangs below the start?"""

import random
from collections.abc import Iterator

from mot_trl.tasks.width.puzzle import Puzzle

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def reachability(seed: int, *, depth: int = 3, branching: int = 2, goals: int = 4) -> Iterator[Puzzle]:
    """`reach a to b c d e: fg ah ...`: the goal below `a`, `depth` edges down; an edge `fg` goes from f to g.

    Two full trees have `branching` children at each node. The start is the root of one, in which one goal hangs below
    a leaf; the other goals hang below distinct leaves of the other tree. So nothing but following edges tells them
    apart, and before its last step a walk from the start has `branching ** (depth - 1)` places to be in.

    Raises:
        ValueError: A setting is too small, or the trees have more nodes than there are letters.
    """
    if depth < 2 or branching < 1 or not 2 <= goals <= branching ** (depth - 1) + 1:
        raise ValueError(
            f"Trees with depth={depth} and branching={branching} cannot hold goals={goals}: give a depth from 2, a "
            f"branching from 1, and 2 to branching ** (depth - 1) + 1 goals."
        )
    size = sum(branching**level for level in range(depth))
    if 2 * size + goals > len(LETTERS):
        raise ValueError(f"The trees need {2 * size + goals} letters, and there are 26; lower depth or branching.")
    generator = random.Random(f"reachability {seed}")
    while True:
        names = generator.sample(LETTERS, 2 * size + goals)
        yield _puzzle(names[:size], names[size : 2 * size], names[2 * size :], branching, depth, generator)


def _puzzle(
    tree: list[str], other: list[str], goals: list[str], branching: int, depth: int, generator: random.Random
) -> Puzzle:
    """A puzzle of two trees, each a list of nodes level by level, and goals, of which the first is the answer."""
    leaves = branching ** (depth - 1)
    leaf, answer = generator.randrange(leaves), goals[0]
    parents = generator.sample(other[-leaves:], len(goals) - 1)
    edges = [*_edges(tree, branching), *_edges(other, branching), (tree[-leaves:][leaf], answer)]
    edges += zip(parents, goals[1:], strict=True)
    levels = [tree[_start(branching, level) : _start(branching, level + 1)] for level in range(1, depth)]
    ways = [leaf // branching ** (depth - 1 - level) for level in range(1, depth)]
    path = [level[place] for level, place in zip(levels, ways, strict=True)]
    generator.shuffle(edges)
    listed = generator.sample(goals, len(goals))
    text = f"reach {tree[0]} to {' '.join(listed)}: {' '.join(map(''.join, edges))}"
    return Puzzle(text, answer, (*map(tuple, levels), (answer,)), (*path, answer))


def _edges(tree: list[str], branching: int) -> list[tuple[str, str]]:
    return [(tree[(place - 1) // branching], tree[place]) for place in range(1, len(tree))]


def _start(branching: int, level: int) -> int:
    """Place of a level's first node."""
    return sum(branching**above for above in range(level))
