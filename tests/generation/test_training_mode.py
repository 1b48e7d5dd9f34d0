"""Generation is the same in training mode, wherever it is asked for, and leaves each module's mode as it was."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import make_model, make_tokenizer
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import TrainerCallback

from mot_trl import DecoderConfig, MoTGRPOConfig, MoTGRPOTrainer, generate
from mot_trl.generation.custom_generate import write_custom_generate

PROMPTS = ["Count to two.", "Hi"]


def training_model(**overrides: object) -> Any:
    """A model with dropout of both kinds, one frozen module, and gradient checkpointing."""
    model = get_peft_model(make_model(attention_dropout=0.5, **overrides), LoraConfig(r=2, lora_dropout=0.5))
    torch.nn.init.normal_(model.base_model.model.model.layers[0].self_attn.q_proj.lora_B["default"].weight)
    model.gradient_checkpointing_enable()
    model.train()
    model.base_model.model.model.layers[1].eval()
    return model


def modes(model: torch.nn.Module) -> list[tuple[str, bool, bool]]:
    return [
        (name, module.training, getattr(module, "gradient_checkpointing", False))
        for name, module in model.named_modules()
    ]


def by_function(model: Any, folder: Path) -> Tensor:
    return generate(model, make_tokenizer(), PROMPTS, strategy="dirichlet", max_new_tokens=12).completion_ids


def by_decoder(model: Any, folder: Path, **options: Any) -> Tensor:
    inputs = make_tokenizer()(PROMPTS, return_tensors="pt", padding=True, padding_side="left")
    decoder = DecoderConfig(strategy="dirichlet").build(make_tokenizer())
    return model.generate(**inputs, custom_generate=decoder, max_new_tokens=12, do_sample=True, top_k=0, **options)


def without_cache(model: Any, folder: Path) -> Tensor:
    return by_decoder(model, folder, use_cache=False)


def by_checkpoint(model: Any, folder: Path) -> Tensor:
    make_tokenizer().save_pretrained(folder)
    write_custom_generate(folder, DecoderConfig(strategy="dirichlet"))
    inputs = make_tokenizer()(PROMPTS, return_tensors="pt", padding=True, padding_side="left")
    options = {"custom_generate": str(folder), "trust_remote_code": True, "tokenizer": make_tokenizer()}
    return model.generate(**inputs, max_new_tokens=12, **options)


@pytest.mark.parametrize("call", [by_function, by_decoder, without_cache, by_checkpoint])
def test_tokens_are_those_of_evaluation_mode(call: Any, tmp_path: Path) -> None:
    model = training_model()
    before = modes(model)

    torch.manual_seed(0)
    ours = call(model, tmp_path)
    after = modes(model)
    torch.manual_seed(0)
    expected = call(model.eval(), tmp_path)

    assert torch.equal(ours, expected)
    assert after == before


def test_the_mode_is_restored_after_an_error() -> None:
    model = training_model()
    before = modes(model)

    def fail(*_: object) -> None:
        raise KeyError

    with pytest.raises(KeyError):
        generate(model, make_tokenizer(), PROMPTS, max_new_tokens=4, logits_processor=[fail])

    assert modes(model) == before


def test_a_model_that_is_put_into_training_mode_meanwhile_is_refused() -> None:
    model = training_model()

    def train(input_ids: Tensor, scores: Tensor) -> Tensor:
        model.train()
        return scores

    with pytest.raises(RuntimeError, match="put into training mode while it generated"):
        generate(model, make_tokenizer(), PROMPTS, max_new_tokens=4, logits_processor=[train])


def test_rewards_callbacks_and_users_generate_with_the_model_in_training(tmp_path: Path, prompts: Dataset) -> None:
    seen: list[tuple[Tensor, Tensor]] = []

    def complete() -> None:
        model: Any = trainer.model
        before, state = modes(model), torch.get_rng_state()
        for each in (model, copy.deepcopy(model).eval()):
            each.gradient_checkpointing_disable() if each is not model else None
            torch.manual_seed(1)
            each.tokens = by_function(each, tmp_path)
        torch.set_rng_state(state)
        assert modes(model) == before
        seen.append((model.tokens, each.tokens))

    def reward(completions: list, **_: object) -> list[float]:
        complete()
        return [float(len(completion[0]["content"])) for completion in completions]

    class Generating(TrainerCallback):
        def on_step_end(self, *_: object, **__: object) -> None:
            complete()

    settings: dict[str, Any] = {
        "per_device_train_batch_size": 4,
        "num_generations": 4,
        "max_completion_length": 6,
        "max_steps": 1,
        "learning_rate": 1e-2,
        "gradient_checkpointing": True,
        "use_cpu": True,
        "bf16": False,
        "report_to": [],
        "save_strategy": "no",
    }
    trainer = MoTGRPOTrainer(
        make_model(attention_dropout=0.1),
        reward,
        MoTGRPOConfig(str(tmp_path), **settings),
        train_dataset=prompts,
        processing_class=make_tokenizer(),
        callbacks=[Generating()],
    )
    trainer.train()
    assert trainer.model.training
    complete()

    assert len(seen) == 3
    for tokens, expected in seen:
        assert torch.equal(tokens, expected)
