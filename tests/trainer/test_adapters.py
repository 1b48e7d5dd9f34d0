"""Adapters learn through mixtures: what they generate is what is scored, and merging changes nothing."""

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import make_model, make_tokenizer
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from test_grpo_trainer import logged, make_trainer
from transformers import AutoModelForCausalLM

from mot_trl import generate

ADAPTERS: dict[str, dict[str, Any]] = {
    "LoRA": {"target_modules": "all-linear"},
    "rsLoRA": {"target_modules": ["q_proj", "v_proj"], "use_rslora": True},
    "DoRA": {"target_modules": ["q_proj", "v_proj"], "use_dora": True},
    "LoRA on the embeddings": {"target_modules": ["q_proj", "embed_tokens"]},
    "DoRA on the embeddings": {"target_modules": ["q_proj", "embed_tokens"], "use_dora": True},
    "embeddings saved": {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
    "embeddings and head saved": {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head"]},
    "trainable tokens": {"target_modules": ["q_proj"], "trainable_token_indices": [50, 60, 70]},
}
TIED = [(name, tied) for name in ADAPTERS for tied in (False, True)]
REFUSED = ("trainable tokens", True)
# Merging into tied embeddings changes the head, too; PEFT warns of it.
CHANGED_BY_MERGING = [("LoRA on the embeddings", True), ("DoRA on the embeddings", True)]


def adapter(name: str) -> LoraConfig:
    """An adapter that is far from doing nothing."""
    return LoraConfig(init_lora_weights=False, **ADAPTERS[name])


@pytest.mark.parametrize(("name", "tied"), [case for case in TIED if case != REFUSED])
def test_replay_equals_generation(name: str, tied: bool, tmp_path: Path, prompts: Dataset) -> None:
    model = make_model(tie_word_embeddings=tied)
    quick = {"max_steps": 1, "gradient_accumulation_steps": 1, "gradient_checkpointing": False}
    trainer = make_trainer(
        tmp_path, prompts, model=model, peft_config=adapter(name), strategy="dirichlet", trace_steps=0, **quick
    )

    trainer.train()

    assert max(logged(trainer, "mixture/log_prob_gap")) < 1e-5
    assert min(logged(trainer, "grad_norm")) > 0


@pytest.mark.parametrize(("name", "tied"), [case for case in TIED if case not in CHANGED_BY_MERGING])
def test_a_merged_adapter_gives_the_same_mixtures(name: str, tied: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = get_peft_model(make_model(tie_word_embeddings=tied), adapter(name)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))

    before = mixtures(model)
    model.merge_and_unload().save_pretrained(tmp_path)
    after = mixtures(AutoModelForCausalLM.from_pretrained(tmp_path).eval())

    assert torch.equal(after.completion_ids, before.completion_ids)
    assert torch.equal(after.rollout.candidate_ids, before.rollout.candidate_ids)
    assert torch.allclose(after.rollout.log_weights.exp(), before.rollout.log_weights.exp(), atol=1e-4)


def mixtures(model: Any) -> Any:
    torch.manual_seed(0)
    return generate(model, make_tokenizer(), ["Count.", "Count to three."], strategy="dirichlet", max_new_tokens=6)


def test_trainable_tokens_of_a_tied_head_are_refused(tmp_path: Path, prompts: Dataset) -> None:
    model = make_model(tie_word_embeddings=True)

    with pytest.raises(ValueError, match=r"tied to its embeddings.*modules_to_save"):
        make_trainer(tmp_path, prompts, model=model, peft_config=adapter("trainable tokens"))
