"""Count shapes in pictures drawn on the fly, for vision-language models."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from mot_trl.extras import install_hint
from mot_trl.rewards.answer import completion_text, final_answer

if TYPE_CHECKING:
    from datasets import Dataset
    from PIL.Image import Image

COLORS = {
    "red": (214, 39, 40),
    "green": (44, 160, 44),
    "blue": (31, 119, 180),
    "orange": (255, 127, 14),
    "purple": (148, 103, 189),
}
SHAPES = ("circle", "square", "triangle")
INSTRUCTION = (
    "Reason step by step between <think> and </think>, "
    "then write the number, in digits and alone, between <answer> and </answer>."
)

Drawing = tuple[str, str, int, int]
"""A shape and its color in one cell of the picture's grid: the cell's row and column."""


def load(split: str = "train", rows: int = 512, *, cells: int = 4, size: int = 112, seed: int = 0) -> Dataset:
    """Rows with `prompt` (one user message), `image` (`size` x `size` pixels) and `answer` (the count as text).

    Up to half the `cells` x `cells` cells of a picture are filled; the question is how many shapes of one kind and
    color there are. `test` has other pictures than `train`.

    Raises:
        ValueError: `split` is neither `train` nor `test`, or the cells are too small to draw in.
        ImportError: Pillow is missing.
    """
    if split not in ("train", "test"):
        raise ValueError(f"Unknown split {split!r}; choose one of ['test', 'train'].")
    if cells < 1 or size < 8 * cells:
        raise ValueError(f"`size={size}` pixels must give each of the `cells={cells}` in a row at least 8.")
    import datasets

    # Seeded by a text, which `random` hashes alike in every process.
    generator = random.Random(f"{split} {seed}")
    examples = [_example(generator, cells, size) for _ in range(rows)]
    features = datasets.Features(
        {
            "prompt": [{"role": datasets.Value("string"), "content": datasets.Value("string")}],
            "image": datasets.Image(),
            "answer": datasets.Value("string"),
        }
    )
    return datasets.Dataset.from_list(examples, features=features)


def correct_answer(completions: list, answer: list[str], **_: Any) -> list[float]:
    """1 where the final answer is the right count, else 0."""
    return [float(_count(completion) == int(gold)) for completion, gold in zip(completions, answer, strict=True)]


def close_answer(completions: list, answer: list[str], **_: Any) -> list[float]:
    """1 / (1 + distance to the right count), 0 without an answer: a dense reward for models that cannot count yet."""
    pairs = zip(map(_count, completions), map(int, answer), strict=True)
    return [0.0 if count is None else 1 / (1 + abs(count - gold)) for count, gold in pairs]


def draw(drawings: list[Drawing], *, cells: int, size: int) -> Image:
    """The picture, on a white ground."""
    try:
        from PIL import Image, ImageDraw
    except ImportError as error:
        raise ImportError(f"Pictures are drawn by Pillow: {install_hint('vision')}") from error
    picture = Image.new("RGB", (size, size), "white")
    pen = ImageDraw.Draw(picture)
    # An eighth of a cell stays free on each side, so that neighbors do not touch.
    side = size // cells
    for shape, color, row, column in drawings:
        left, top = column * side + side // 8, row * side + side // 8
        right, bottom = left + side - side // 4, top + side - side // 4
        if shape == "triangle":
            pen.polygon(((left, bottom), (right, bottom), ((left + right) // 2, top)), fill=COLORS[color])
        else:
            outline = pen.ellipse if shape == "circle" else pen.rectangle
            outline((left, top, right, bottom), fill=COLORS[color])
    return picture


def _example(generator: random.Random, cells: int, size: int) -> dict[str, Any]:
    asked = _kind(generator)
    # Cells keep the shapes from overlapping, so that the count is never in doubt.
    places = [(row, column) for row in range(cells) for column in range(cells)]
    filled = generator.sample(places, generator.randint(1, max(1, len(places) // 2)))
    # Half of the shapes are of the kind asked for: at random, nearly every count would be 0 or 1.
    kinds = [asked if generator.random() < 0.5 else _kind(generator) for _ in filled]
    drawings = [(*kind, *place) for kind, place in zip(kinds, filled, strict=True)]
    shape, color = asked
    question = f"How many {color} {shape}s are in the picture?\n\n{INSTRUCTION}"
    return {
        "prompt": [{"role": "user", "content": question}],
        "image": draw(drawings, cells=cells, size=size),
        "answer": str(kinds.count(asked)),
    }


def _kind(generator: random.Random) -> tuple[str, str]:
    return generator.choice(SHAPES), generator.choice(list(COLORS))


def _count(completion: Any) -> int | None:
    answer = final_answer(completion_text(completion))
    # No count has more digits than this, and int() takes quadratic time on long ones.
    return int(answer) if answer is not None and answer.isdecimal() and len(answer) < 10 else None
