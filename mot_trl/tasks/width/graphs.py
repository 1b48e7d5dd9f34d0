"""Layered graphs after ProsQA: which of two ends does the start lead to, where nodes have several parents?"""

import random
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from mot_trl.tasks.width.puzzle import Puzzle
from mot_trl.tasks.width.reachability import LETTERS


class Layers(NamedTuple):
    """Layers of nodes below a root, and edges from each to the next."""

    nodes: list[list[str]]
    edges: list[tuple[str, str]]


def graphs(seed: int, *, depth: int = 3, width: int = 4, parents: int = 2) -> Iterator[Puzzle]:
    """`graph a to b c: de ad ...`: which of two ends is `depth` edges below `a` (ProsQA in small, arXiv 2412.06769).

    Two graphs of the same make have a root, layers of up to `width` nodes, and one end. A node has up to `parents`
    parents in the layer above; an end has one. Edges from the graph of the wrong end into the other lead nowhere new,
    so the direction of an edge matters.

    Raises:
        ValueError: A setting is too small, or the graphs have more nodes than there are letters.
    """
    if depth < 2 or width < 1 or parents < 1:
        raise ValueError(f"depth={depth}, width={width} or parents={parents} is too small: give 2, 1 and 1 at least.")
    sizes = [1, *(min(width, 2**level) for level in range(1, depth)), 1]
    if 2 * sum(sizes) > len(LETTERS):
        raise ValueError(f"The graphs need {2 * sum(sizes)} letters, and there are 26; lower depth or width.")
    generator = random.Random(f"graphs {seed}")
    while True:
        names = iter(generator.sample(LETTERS, 2 * sum(sizes)))
        right, wrong = (
            _layers([[next(names) for _ in range(size)] for size in sizes], parents, generator) for _ in "ab"
        )
        yield _puzzle(right, wrong, generator)


def _layers(nodes: list[list[str]], parents: int, generator: random.Random) -> Layers:
    edges = []
    for above, below in pairwise(nodes[:-1]):
        for place, node in enumerate(below):
            # Each node above has a child, so that no branch ends early.
            first = above[place % len(above)]
            more = generator.randint(0, min(parents, len(above)) - 1)
            others = generator.sample([other for other in above if other != first], more)
            edges += [(parent, node) for parent in (first, *others)]
    return Layers(nodes, [*edges, (generator.choice(nodes[-2]), nodes[-1][0])])


def _puzzle(right: Layers, wrong: Layers, generator: random.Random) -> Puzzle:
    (start,), (answer,), (other,) = right.nodes[0], right.nodes[-1], wrong.nodes[-1]
    astray = (generator.choice(wrong.nodes[1]), generator.choice(right.nodes[2]))
    edges = [*right.edges, *wrong.edges, astray]
    path = [answer]
    while path[-1] != start:
        path.append(generator.choice([source for source, target in right.edges if target == path[-1]]))
    generator.shuffle(edges)
    ends = generator.sample([answer, other], 2)
    text = f"graph {start} to {' '.join(ends)}: {' '.join(map(''.join, edges))}"
    return Puzzle(text, answer, tuple(map(tuple, right.nodes[1:])), tuple(reversed(path[:-1])))
