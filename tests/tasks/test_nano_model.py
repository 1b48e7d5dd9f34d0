"""The embedded model is an ordinary checkpoint, and damage to it is noticed."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer

from mot_trl.tasks.nano import model as models
from mot_trl.tasks.nano.model import NANO, load_nano


@pytest.fixture
def nano_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "nano"
    shutil.copytree(NANO, folder)
    monkeypatch.setattr(models, "NANO", folder)
    return folder


def test_nano_is_an_ordinary_checkpoint() -> None:
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


def test_truncated_weights_are_not_loaded(nano_copy: Path) -> None:
    weights = nano_copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])

    with pytest.raises(SafetensorError):
        load_nano()
