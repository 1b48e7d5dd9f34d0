"""Nano's tokenizer keeps text intact, and pretraining learns completions only, reproducibly to the last bit."""

import itertools
from collections.abc import Iterator

import pytest
import torch
from conftest import make_model

from recipes.nano.model import puzzle_tokenizer
from recipes.nano.pretraining import IGNORED, Batch, batches, pretrain

PAIRS = [("sum +1 +2", "<answer>3</answer>"), ("gcd 27 18", "<think> 9</think><answer>9</answer>")]


def stream() -> Iterator[Batch]:
    return batches(itertools.cycle(PAIRS), puzzle_tokenizer(), batch_size=3)


def test_only_the_completion_and_its_end_token_have_labels() -> None:
    tokenizer = puzzle_tokenizer()

    batch = next(stream())

    for input_ids, labels in zip(batch.input_ids, batch.labels, strict=True):
        labeled = tokenizer.decode(labels[labels != IGNORED])
        question, completion = next(pair for pair in PAIRS if pair[1] in labeled)
        assert labeled == f"{completion}<|end|>"
        assert tokenizer.decode(input_ids).replace("<|pad|>", "") == f"<|user|>{question}<|end|><|assistant|>{labeled}"


def test_rows_of_a_batch_are_of_a_similar_length() -> None:
    padded = [int((batch.input_ids == 0).sum()) for batch in itertools.islice(stream(), 32)]

    assert sum(count > 0 for count in padded) <= 1


@pytest.mark.slow
def test_the_same_weights_come_out_again(capsys: pytest.CaptureFixture[str]) -> None:
    runs = []
    for _ in range(2):
        torch.manual_seed(0)
        model = make_model(vocab_size=len(puzzle_tokenizer()), tie_word_embeddings=True)
        runs.append(pretrain(model, stream(), steps=60, learning_rate=4e-3, log_every=20).state_dict())
    losses = [float(line.rsplit(" ", 1)[1]) for line in capsys.readouterr().out.splitlines()]

    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])
    assert losses[2] < losses[0] / 2


@pytest.mark.parametrize("text", ["sum +4 -1 <think> +4 4 -1 3</think><answer>3</answer>", "Überraschung\n\t1234 &c."])
def test_text_survives_the_tokenizer(text: str) -> None:
    tokenizer = puzzle_tokenizer()

    # Graders read completions without special tokens: the tags must not be special.
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text


def test_numbers_letters_and_tags_are_one_token_each() -> None:
    tokens = puzzle_tokenizer().tokenize("<think> +7 17 d</think><answer>14</answer>")

    assert tokens == ["<think>", "Ġ+7", "Ġ17", "Ġd", "</think>", "<answer>", "14", "</answer>"]
