"""Nano-soft is made of right walks and right rates, again to the last bit, and thinks in mixtures as its card says."""

import hashlib
import itertools
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from mot_trl.generation.config import DecoderConfig
from mot_trl.modeling.loading import load_checkpoint
from mot_trl.tasks import width
from mot_trl.tasks.nano.model import load_nano_path, load_nano_soft
from recipes.nano import soft
from recipes.nano.evaluation import complete, of_family
from recipes.nano.model import puzzle_tokenizer
from recipes.nano.pretraining import IGNORED, Together
from recipes.nano.soft import DECODER, KINDS, TOKENS
from recipes.nano.walks import WALK, lookups, walk, walks


@pytest.mark.parametrize("name", width.TASKS)
def test_walks_take_only_ways_that_there_are_and_label_what_can_be_told(name: str) -> None:
    for puzzle in itertools.islice(width.puzzles(name), 20):
        words = walk(puzzle.text, random.Random(0))
        family, start, *rest = puzzle.text.replace(":", "").split()

        assert len(words) == WALK
        before = start
        for place, (word, has_label) in enumerate(words):
            if family == "least":
                numbers = [int(number) for number in rest if number.isdigit()]
                step = place % (len(numbers) + 1)
                assert has_label == (step < len(numbers))
                if has_label:
                    assert int(word) in (int(before) + numbers[step], abs(int(before) - numbers[step]))
                before = word if has_label else start
            else:
                assert has_label == (f"{before}{word}" in rest)
                before = word


def test_lookups_ask_for_every_edge_and_grow() -> None:
    tokenizer, stream = puzzle_tokenizer(), lookups(puzzle_tokenizer(), batch_size=2, seed=0)

    first = next(stream)
    later = next(itertools.islice(stream, 300, None))

    assert (first.labels != IGNORED).sum(dim=1).tolist() == [3, 3]
    assert (later.labels != IGNORED).sum(dim=1).tolist() == [19, 19]
    ids, labels = first.input_ids[0], first.labels[0]
    pairs = tokenizer.decode(ids).split(": ")[1].split("<|end|>")[0].split()
    asked = [(tokenizer.decode(ids[at - 1]), tokenizer.decode(ids[at])) for at in (labels != IGNORED).nonzero()]
    assert sorted(f"{source.strip()}{target.strip()}" for source, target in asked) == sorted(pairs)


def test_walks_are_about_questions_of_the_train_split() -> None:
    tokenizer = puzzle_tokenizer()
    trained = {puzzle.text for name in width.TASKS for puzzle in itertools.islice(width.puzzles(name, seed=4), 2)}

    batches = list(itertools.islice(walks(tokenizer, batch_size=2, seed=4), 3))

    rows = [tokenizer.decode(row) for batch in batches for row in batch.input_ids]
    texts = {row.split("<|user|>")[1].split("<|end|>")[0] for row in rows}
    assert texts == trained


def test_optimizers_together_step_at_the_rate_of_a_schedule_after_a_copy_of_their_state() -> None:
    one, two = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    both = Together([torch.optim.SGD([one], lr=0.0), torch.optim.SGD([two], lr=0.0)])
    # Accelerate moves an optimizer's state to a device in this way.
    both.load_state_dict(both.state_dict())
    for group, rate in zip(both.param_groups, (0.1, 0.5), strict=True):
        group["lr"] = rate
    (one.sum() + two.sum()).backward()

    both.step()

    assert one.tolist() == pytest.approx([0.9, 0.9])
    assert two.tolist() == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize(("way", "load"), [("superposed", load_nano_soft), ("path", load_nano_path)])
def test_a_model_is_a_small_checkpoint_that_carries_its_decoder(way: str, load: Any) -> None:
    (model, _), folder = load(), KINDS[way].folder
    loaded = load_checkpoint(str(folder), dtype="float32")
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()

    assert sum(file.stat().st_size for file in folder.iterdir()) < 2**20
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert DecoderConfig.from_dict(loaded.mixture or {}) == KINDS[way].decoder
    assert digest in (folder / "README.md").read_text()


@pytest.mark.slow
def test_nano_soft_does_better_in_real_mixtures_than_in_tokens() -> None:
    model, tokenizer = load_nano_soft()
    rows = list(width.load(size=192, seed=5, split="test"))

    mixed, sampled = (complete(model, tokenizer, rows, decoder, samples=2) for decoder in (DECODER, TOKENS))

    for name in width.TASKS:
        assert of_family(mixed.shares, rows, name).mean > of_family(sampled.shares, rows, name).mean + 0.1
    assert mixed.candidates[:, :3].nanmean(dim=0).max() > 2
    assert sampled.candidates.nanmean() == 1


@pytest.mark.slow
@pytest.mark.parametrize("way", ["superposed", "path"])
def test_making_a_model_is_reproducible(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"LOOKUP_STEPS": 2, "WALK_STEPS": 3, "HELD_OUT": 6, "SAMPLES": 1}.items():
        monkeypatch.setattr(soft, name, value)

    folders = [tmp_path / name for name in ("first", "second")]
    for folder in folders:
        soft.main(folder, way=way, steps=2)

    digests = [hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest() for folder in folders]
    assert digests[0] == digests[1]
    assert digests[0] in (folders[0] / "README.md").read_text()
    assert DecoderConfig.from_dict(load_checkpoint(str(folders[0])).mixture or {}) == KINDS[way].decoder
