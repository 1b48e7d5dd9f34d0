"""The embedded model is whole, a checkpoint like any other, and says so when it is not."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer

from mot_trl.tasks.nano import model as models
from mot_trl.tasks.nano.model import NANO, load_nano, puzzle_tokenizer


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "nano"
    shutil.copytree(NANO, folder)
    monkeypatch.setattr(models, "NANO", folder)
    return folder


def test_nano_is_a_checkpoint_like_any_other() -> None:
    model, tokenizer = load_nano()
    same = AutoModelForCausalLM.from_pretrained(NANO)
    ids = tokenizer("sum +4 -1", return_tensors="pt")["input_ids"]

    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert same.dtype == torch.bfloat16
    assert torch.equal(model(ids).logits, same.float()(ids).logits)
    assert AutoTokenizer.from_pretrained(NANO).get_vocab() == tokenizer.get_vocab()
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id == tokenizer.convert_tokens_to_ids("<|end|>")


def test_nano_is_small() -> None:
    assert sum(file.stat().st_size for file in NANO.iterdir()) < 3e6


def test_nano_whose_weights_are_cut_short_is_not_loaded(copy: Path) -> None:
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])

    with pytest.raises(SafetensorError):
        load_nano()


@pytest.mark.parametrize("text", ["sum +4 -1 <think> +4 4 -1 3</think><answer>3</answer>", "Überraschung\n\t1234 &c."])
def test_text_survives_the_tokenizer(text: str) -> None:
    tokenizer = puzzle_tokenizer()

    # Graders read completions without special tokens: the tags must not be such.
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text


def test_numbers_letters_and_tags_are_one_token_each() -> None:
    tokens = puzzle_tokenizer().tokenize("<think> +7 17 d</think><answer>14</answer>")

    assert tokens == ["<think>", "Ġ+7", "Ġ17", "Ġd", "</think>", "<answer>", "14", "</answer>"]
