"""A frontier's picture shows what each step mixed, on a graph laid out by distance."""

from pathlib import Path

import pytest
import torch

from mot_trl import generate
from mot_trl.generation.generate import Generation
from mot_trl.modeling.rollout import Rollout
from mot_trl.tasks.nano.model import load_nano
from mot_trl.traces.frontier import draw_frontier, layers, thoughts


def test_nodes_are_laid_out_by_their_distance_from_the_start() -> None:
    edges = ["ab", "ac", "bd", "cd", "xb", "xy"]

    assert layers(edges, "a") == [["a", "x"], ["b", "c", "y"], ["d"]]


def test_a_circle_is_laid_out_once() -> None:
    assert layers(["ab", "ba"], "a") == [["a"], ["b"]]


def test_thoughts_are_words_by_weight_without_the_lightest() -> None:
    _, tokenizer = load_nano()
    b, c, d = (tokenizer.encode(f" {letter}", add_special_tokens=False)[0] for letter in "bcd")
    rollout = Rollout.empty(1, 3, num_candidates=3, device="cpu")
    rollout.candidate_ids[0, 0] = torch.tensor([b, c, d])
    rollout.log_weights[0, 0] = torch.tensor([0.29, 0.7, 0.01]).log()
    rollout.thinking_mask[0, :2] = True
    generation = Generation([""], [None], torch.zeros(1, 3, dtype=torch.long), rollout)

    (first,) = thoughts(generation, tokenizer, steps=1)

    assert [(word, round(weight, 2)) for word, weight in first.items()] == [("c", 0.7), ("b", 0.29)]
    assert len(thoughts(generation, tokenizer)) == 2


@pytest.mark.slow
def test_a_picture_is_written_for_a_real_completion(tmp_path: Path) -> None:
    model, tokenizer = load_nano()
    generation = generate(model, tokenizer, ["reach a to b c"], strategy="top_k", max_new_tokens=4)
    mixed = thoughts(generation, tokenizer, steps=2)

    files = draw_frontier(["ab", "ac", "bd"], "a", mixed, tmp_path / "frontier", answer="d")

    assert [file.suffix for file in files] == [".png", ".svg"]
    assert f"step {len(mixed)}" in files[1].read_text()
