"""A frontier being held: which nodes of a graph each thinking step of a completion mixed, as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from mot_trl.generation.generate import Generation
from mot_trl.traces.learning_curves import new_figure, save

SHOWN = 0.02
"""A smaller weight is left out."""

Edges = Sequence[Sequence[str]]
"""Pairs of a source and a target, such as `("a", "b")` or `"ab"`."""


def thoughts(
    generation: Generation, tokenizer: PreTrainedTokenizerBase, *, row: int = 0, steps: int | None = None
) -> list[dict[str, float]]:
    """What each thinking step of a completion mixed: words and their weights, heaviest first.

    Args:
        steps: At most as many; by default all, the closing tag among them.
    """
    rollout, found = generation.rollout, []
    for step in rollout.thinking_mask[row].nonzero().flatten().tolist()[:steps]:
        ids, weights = rollout.candidate_ids[row, step].tolist(), rollout.log_weights[row, step].exp().tolist()
        mixed: dict[str, float] = {}
        for token, weight in zip(ids, weights, strict=True):
            word = str(tokenizer.decode([token])).strip()
            mixed[word] = mixed.get(word, 0.0) + weight
        shown = {word: weight for word, weight in mixed.items() if weight >= SHOWN}
        found.append(dict(sorted(shown.items(), key=lambda each: -each[1])))
    return found


def layers(edges: Edges, start: str) -> list[list[str]]:
    """The nodes of a graph by their distance from the start; those out of reach have distances of their own."""
    children: dict[str, list[str]] = {}
    for source, target in edges:
        children.setdefault(source, []).append(target)
    targets = {target for _, target in edges}
    found, seen = [], set()
    for root in dict.fromkeys([start, *(source for source, _ in edges if source not in targets)]):
        layer = [root]
        for depth in range(len(edges) + 1):
            layer = [node for node in dict.fromkeys(layer) if node not in seen]
            if not layer:
                break
            found += [[] for _ in range(depth + 1 - len(found))]
            found[depth] += layer
            seen.update(layer)
            layer = [child for node in layer for child in children.get(node, [])]
    return found


def draw_frontier(
    edges: Edges, start: str, mixed: Sequence[Mapping[str, float]], path: Path, *, answer: str | None = None
) -> list[Path]:
    """Draw the graph once for each step, its nodes the darker the more of them was mixed; return the files.

    Args:
        mixed: What each step mixed, as from `thoughts`.
        path: Of the files, without suffix: a PNG and an SVG.
        answer: Node to mark.

    Raises:
        ImportError: matplotlib is missing.
    """
    places = {
        node: ((place + 0.5) / len(layer), -depth)
        for depth, layer in enumerate(layers(edges, start))
        for place, node in enumerate(layer)
    }
    figure, axes = new_figure(1, len(mixed), size=(4.2 * len(mixed), 3.2))
    for number, (one, weights) in enumerate(zip(axes[0], mixed, strict=True), 1):
        _draw_edges(one, edges, places)
        for node, (x, y) in places.items():
            _draw_node(one, node, x, y, weight=weights.get(node, 0.0), marked=node in (start, answer))
        listed = ", ".join(f"{word} {weight:.2f}" for word, weight in list(weights.items())[:6])
        one.set_title(f"step {number}: {listed}", fontsize=9)
        one.set_axis_off()
    return save(figure, path)


def _draw_edges(one: Any, edges: Edges, places: Mapping[str, tuple[float, float]]) -> None:
    arrow = {"arrowstyle": "-|>", "color": "0.75", "lw": 0.8, "shrinkA": 9, "shrinkB": 9}
    for source, target in edges:
        one.annotate("", xy=places[target], xytext=places[source], arrowprops=arrow)


def _draw_node(one: Any, node: str, x: float, y: float, *, weight: float, marked: bool) -> None:
    # The color map of a share: white for none, dark blue for all.
    color = (1 - 0.9 * weight, 1 - 0.6 * weight, 1.0 - 0.2 * weight) if weight else "white"
    one.plot(x, y, "o", ms=17, mfc=color, mec="C3" if marked else "0.5", mew=2 if marked else 0.8)
    one.text(x, y, node, ha="center", va="center", fontsize=9, color="white" if weight > 0.6 else "0.1")
