"""Batches that teach a new model to follow edges and add numbers one at a time, in ordinary tokens."""

import random
from collections.abc import Iterator
from itertools import cycle

import torch
from transformers import PreTrainedTokenizerBase

from mot_trl.tasks import width
from mot_trl.tasks.width.loading import token_id
from mot_trl.tasks.width.reachability import LETTERS
from recipes.nano.pretraining import IGNORED, Batch

WALK = 12
"""Words of walks after a question."""

FEWEST_EDGES, MOST_EDGES = 3, 19
EASY_STEPS, STEPS_PER_EDGE = 200, 5

Labeled = list[tuple[str, bool]]
"""Words, each with whether it has a label: the first node of a walk is any node, which nothing predicts."""


def lookups(tokenizer: PreTrainedTokenizerBase, *, batch_size: int, seed: int) -> Iterator[Batch]:
    """Graphs in which each node has one child, and all nodes with their children in another order, endlessly.

    The first `EASY_STEPS` batches have three edges, later ones up to 19. Among many edges the gradient of a first
    guess is too faint to start from; a model that has learned to look up one of three finds one of 19 at once.
    """
    generator, step = random.Random(f"lookups {seed}"), 0
    while True:
        edges = FEWEST_EDGES + max(0, step - EASY_STEPS) // STEPS_PER_EDGE
        yield _batch([_lookup(min(edges, MOST_EDGES), generator) for _ in range(batch_size)], tokenizer)
        step += 1


def walks(tokenizer: PreTrainedTokenizerBase, *, batch_size: int, seed: int) -> Iterator[Batch]:
    """Questions of the train split, each with walks that take any way on at random; families in turn, endlessly.

    The first walk begins at the start. None knows the answer.
    """
    generator = random.Random(f"walks {seed}")
    sources = {name: width.puzzles(name, seed=seed) for name in width.TASKS}
    for name in cycle(sources):
        questions = [next(sources[name]).text for _ in range(batch_size)]
        yield _batch([(question, walk(question, generator)) for question in questions], tokenizer)


def walk(question: str, generator: random.Random) -> Labeled:
    """The words of random walks through a question, `WALK` of them."""
    family, start, *words = question.replace(":", "").split()
    if family == "least":
        return _sums([int(start), *map(int, words)], generator)
    children: dict[str, list[str]] = {}
    for source, target in (word for word in words if len(word) == 2 and word != "to"):
        children.setdefault(source, []).append(target)
    node, found = start, []
    while len(found) < WALK:
        has_children = node in children
        node = generator.choice(children[node] if has_children else list(children))
        found.append((node, has_children))
    return found


def _sums(numbers: list[int], generator: random.Random) -> Labeled:
    found: Labeled = []
    while len(found) < WALK:
        total = numbers[0]
        for number in numbers[1:]:
            total = abs(total + generator.choice((number, -number)))
            found.append((str(total), True))
        found.append((".", False))
    return found[:WALK]


def _lookup(edges: int, generator: random.Random) -> tuple[str, Labeled]:
    pairs = list(zip(generator.sample(LETTERS, edges), generator.sample(LETTERS, edges), strict=True))
    question = f"reach a to b: {' '.join(map(''.join, pairs))}"
    asked = generator.sample(pairs, edges)
    return question, [each for source, target in asked for each in ((source, False), (target, True))]


def _batch(rows: list[tuple[str, Labeled]], tokenizer: PreTrainedTokenizerBase) -> Batch:
    """Rows padded on the right; questions have no labels."""
    chats = [[{"role": "user", "content": question}] for question, _ in rows]
    texts = tokenizer.apply_chat_template(chats, tokenize=False, add_generation_prompt=True)
    prompts = tokenizer(texts, add_special_tokens=False)["input_ids"]
    known = {word: token_id(tokenizer, word) for word in {word for _, words in rows for word, _ in words}}
    longest = max(len(ids) + len(words) for ids, (_, words) in zip(prompts, rows, strict=True))
    input_ids = torch.full((len(rows), longest), int(tokenizer.pad_token_id or 0))
    labels = torch.full((len(rows), longest), IGNORED)
    for number, (prompt, (_, words)) in enumerate(zip(prompts, rows, strict=True)):
        ids = [known[word] for word, _ in words]
        end = len(prompt) + len(ids)
        input_ids[number, :end] = torch.tensor(prompt + ids)
        has_label = [known[word] if labeled else IGNORED for word, labeled in words]
        labels[number, len(prompt) : end] = torch.tensor(has_label)
    return Batch(input_ids, labels)
