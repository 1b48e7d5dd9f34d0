"""Layers of quantized weights that evaluation mode changes for good are as they were, and learn around them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import make_model, make_tokenizer
from datasets import Dataset
from peft import LoraConfig
from test_grpo_trainer import logged, make_trainer
from torch import nn
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from mot_trl import generate

LORA = LoraConfig(target_modules="all-linear")


class Repacking(nn.Linear):
    """Behaves like bitsandbytes' 4-bit layer on a CPU: repacked in evaluation mode, and then without a gradient."""

    packed = False

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__(layer.in_features, layer.out_features, bias=False)
        self.scale = float(layer.weight.detach().abs().max()) / 127
        levels = (layer.weight.detach() / self.scale).round() + 128
        self.weight = nn.Parameter(levels.to(torch.uint8), requires_grad=False)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        self.packed = self.packed or not (self.training or input.requires_grad)
        outputs = input @ ((self.weight.float() - 128) * self.scale).T
        return outputs.detach() if self.packed else outputs


def stand_in(folder: Path) -> Any:
    model = make_model()
    for layer in model.model.layers:
        layer.self_attn.q_proj, layer.mlp.up_proj = Repacking(layer.self_attn.q_proj), Repacking(layer.mlp.up_proj)
    return model


def in_4_bits(folder: Path) -> Any:
    pytest.importorskip("bitsandbytes")
    make_model(hidden_size=64, intermediate_size=128).save_pretrained(folder / "model")
    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=torch.float32)
    return AutoModelForCausalLM.from_pretrained(folder / "model", quantization_config=config, dtype=torch.float32)


def repacked(model: nn.Module) -> list[str]:
    def is_repacked(module: nn.Module) -> bool:
        state = getattr(getattr(module, "weight", None), "quant_state", None)
        return getattr(module, "packed", False) or getattr(state, "packing_format_for_cpu", False)

    return [name for name, module in model.named_modules() if is_repacked(module)]


@pytest.mark.slow
@pytest.mark.parametrize("load", [stand_in, in_4_bits])
def test_nothing_repacks_what_training_needs(load: Any, tmp_path: Path, prompts: Dataset) -> None:
    trainer = make_trainer(tmp_path, prompts, model=load(tmp_path), peft_config=LORA, beta=0.1, trace_steps=0)
    assert repacked(trainer.model) == []

    trainer.evaluate()
    assert repacked(trainer.model) == []
    trainer.train()

    assert repacked(trainer.model) == []
    assert max(logged(trainer, "mixture/log_prob_gap")) < 1e-5
    learned = {name: weight for name, weight in trainer.model.named_parameters() if "lora_B" in name}
    assert all(weight.abs().max() > 0 for weight in learned.values())


def test_the_probe_of_a_model_fresh_from_disk_repacks_nothing(tmp_path: Path, prompts: Dataset) -> None:
    model = stand_in(tmp_path).eval()

    make_trainer(tmp_path, prompts, model=model, trace_steps=0)

    assert repacked(model) == []
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("training", [True, False])
def test_generation_leaves_such_layers_in_the_mode_that_they_have(training: bool, tmp_path: Path) -> None:
    model = stand_in(tmp_path).train(training)

    generate(model, make_tokenizer(), ["Hi"], max_new_tokens=2)

    assert bool(repacked(model)) == (not training)
