"""The record stays aligned with what TRL makes of the completions."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import make_model
from datasets import Dataset
from peft import LoraConfig
from test_grpo_trainer import make_trainer

from mot_trl import MoTGRPOTrainer, Rollout
from mot_trl.trainer.replay import RolloutScope

# Neither the prompts nor the completions are a multiple of 16 long.
PADDED = {"pad_to_multiple_of": 16}
# Harmless, but not known to be: log-probabilities are computed, not read from the record.
COMPUTED = {"generation_kwargs": {"renormalize_logits": True}}
# TRL cuts completions at each of the model's end tokens, generation ends at one of them.
CUT = {"end_ids": [2, *range(60, 90)], "generation_kwargs": {"eos_token_id": 2, "renormalize_logits": True}}
ALL = "padded, cut, masked, forced tokens"
CASES: dict[str, dict[str, Any]] = {
    "padded": {**PADDED, **COMPUTED},
    "padded, from the record": PADDED,
    "padded, forced tokens": {**PADDED, **COMPUTED, "max_mixture_tokens": 4},
    "padded, an adapter": {**PADDED, "peft_config": LoraConfig(target_modules=["q_proj"], init_lora_weights=False)},
    "cut": CUT,
    "cut and masked": {**CUT, "mask_truncated_completions": True},
    ALL: {
        **PADDED,
        **CUT,
        "mask_truncated_completions": True,
        "max_mixture_tokens": 4,
    },
}


@pytest.mark.parametrize(
    ("case", "share_prompts"), [*((case, True) for case in CASES), ("padded", False), (ALL, False)]
)
def test_every_log_prob_is_of_the_draw_in_its_column(
    case: str, share_prompts: bool, tmp_path: Path, prompts: Dataset
) -> None:
    model, settings = make_model(), dict(CASES[case])
    model.generation_config.eos_token_id = settings.pop("end_ids", 2)
    has_adapter = "peft_config" in settings
    if not has_adapter:
        model.save_pretrained(tmp_path / "model")
        model = str(tmp_path / "model")
    # More iterations than one: TRL asks for old log-probabilities. A KL term: it asks for a reference's.
    settings |= {"share_prompts": share_prompts, "num_iterations": 2, "beta": 0.1, "max_completion_length": 13}
    trainer = make_trainer(tmp_path, prompts, model=model, trace_steps=0, **settings)
    torch.manual_seed(0)
    batch = trainer._generate_and_score_completions([prompts[0]] * 4 + [prompts[1]] * 4)

    policy = replayed(trainer, trainer.model, batch)
    with trainer.model.disable_adapter() if has_adapter else nullcontext():
        reference = replayed(trainer, trainer.model if has_adapter else trainer.ref_model, batch)

    scored = batch["completion_mask"].bool() & batch.get("tool_mask", torch.ones(())).bool()
    assert scored.sum() > 4
    assert torch.allclose(policy.logps[scored], batch["old_per_token_logps"][scored], atol=1e-5)
    assert torch.allclose(policy.logps[scored], batch["rollout_logps"][scored], atol=1e-5)
    thinking = scored & batch["rollout_thinking_mask"]
    assert torch.allclose(policy.probe_logps[0][thinking], batch["old_probe_logps"][thinking], atol=1e-5)
    assert torch.allclose(reference.probe_logps[0][scored], batch["ref_per_token_logps"][scored], atol=1e-5)
    assert torch.allclose(reference.logps[scored], policy.logps[scored], atol=1e-5) != has_adapter


def replayed(trainer: MoTGRPOTrainer, model: Any, batch: dict[str, Any]) -> RolloutScope:
    """What a pass of the model gives for a batch, without its gradient."""
    input_ids, mask = (
        torch.cat([batch[f"prompt_{name}"], batch[f"completion_{name}"]], dim=1) for name in ("ids", "mask")
    )
    entropy = {"compute_entropy": model is not trainer.ref_model}
    with torch.no_grad(), trainer._scoped(RolloutScope(Rollout.from_batch(batch))) as scope:
        trainer._get_per_token_logps_and_entropies(model, input_ids, mask, batch["completion_ids"].size(1), **entropy)
    return scope
