"""Reading each prompt once changes no number."""

from typing import Any

import pytest
import torch
from conftest import FAMILIES, make_model
from peft import LoraConfig, get_peft_model
from transformers import GPT2Config, GPT2LMHeadModel
from trl.trainer.utils import add_fused_lm_head

from mot_trl.modeling import prompt_sharing
from mot_trl.modeling.candidate_head import add_candidate_head
from mot_trl.modeling.prompt_sharing import share, trim
from mot_trl.modeling.rollout import Rollout
from mot_trl.strategies.top_k import TopK

PROMPT_ROWS = [0, 1, 0, 2, 0, 1]


def batch() -> tuple[dict[str, Any], Rollout]:
    """Six rows of three prompts of different lengths, in disorder, with columns of padding on both sides."""
    generator = torch.Generator().manual_seed(0)
    prompts = torch.randint(3, 259, (3, 9), generator=generator)
    prompt_mask = (torch.arange(9) >= torch.tensor([[2], [5], [4]])).long()
    completions = torch.randint(3, 259, (6, 8), generator=generator)
    completion_mask = (torch.arange(8) < torch.tensor([[3], [6], [1], [6], [5], [2]])).long()
    ids = torch.cat([prompts[PROMPT_ROWS], completions], dim=1)
    mask = torch.cat([prompt_mask[PROMPT_ROWS], completion_mask], dim=1)
    labels = ids.masked_fill(mask == 0, -100)
    labels[:, :9] = -100
    rollout = Rollout.empty(6, 8, num_candidates=3, device="cpu")
    rollout.candidate_ids.copy_(torch.randint(259, (6, 8, 3), generator=generator))
    rollout.candidate_ids[..., 1] = completions
    rollout.log_weights.copy_(torch.randn(6, 8, 3, generator=generator).log_softmax(-1))
    thinking = (torch.arange(8) < 4) & completion_mask.bool()
    rollout.thinking_mask.copy_(thinking)
    rollout.mixture_mask.copy_(thinking)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels, "fused_lm_head": True}, rollout


def results(model: Any, *, share_prompts: bool, lora: bool = False, checkpointing: bool = False) -> dict[str, Any]:
    torch.manual_seed(1)
    if checkpointing:
        model.gradient_checkpointing_enable()
    add_fused_lm_head(model, temperature=0.9, outputs=("log_probs", "entropy"))
    add_candidate_head(model, TopK(), temperature=0.9, share_prompts=share_prompts)
    if lora:
        model = get_peft_model(model, LoraConfig(target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    model.train()
    tokens: list[int] = []
    core = model.get_base_model() if lora else model
    core.base_model.register_forward_pre_hook(
        lambda module, args, kwargs: tokens.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    inputs, rollout = batch()
    outputs = model(**inputs, rollout=rollout)
    weights = torch.randn(outputs.candidate_logps.shape, generator=torch.Generator().manual_seed(2))
    (
        outputs.log_probs[:, -8:].sum() + outputs.entropy[:, -8:].sum() + (outputs.candidate_logps * weights).sum()
    ).backward()
    gradients = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
    return {
        "tokens": sum(tokens),
        "log_probs": outputs.log_probs[:, -8:].detach(),
        "entropy": outputs.entropy[:, -8:].detach(),
        "candidate_logps": outputs.candidate_logps.detach(),
        "gradients": gradients,
    }


def assert_equal(shared: dict[str, Any], plain: dict[str, Any]) -> None:
    for name in ("log_probs", "entropy", "candidate_logps"):
        assert torch.allclose(shared[name], plain[name], atol=1e-5), name
    assert shared["gradients"].keys() == plain["gradients"].keys()
    for name, gradient in plain["gradients"].items():
        gap = (shared["gradients"][name] - gradient).norm() / (gradient.norm() + 1e-6)
        assert gap < 1e-5, (name, gap)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("checkpointing", [False, True], ids=["plain", "checkpointed"])
def test_log_probs_and_gradients_equal_those_of_the_ordinary_pass(family: str, checkpointing: bool) -> None:
    shared = results(make_model(family), share_prompts=True, checkpointing=checkpointing)
    plain = results(make_model(family), share_prompts=False, checkpointing=checkpointing)

    assert_equal(shared, plain)
    assert shared["tokens"] == 3 * 6 + 6 * 7
    assert plain["tokens"] == 6 * 17


def test_the_same_with_lora() -> None:
    shared = results(make_model(), share_prompts=True, lora=True)

    assert_equal(shared, results(make_model(), share_prompts=False, lora=True))


def test_a_model_that_keeps_no_cache_of_checkpointed_layers_reads_each_rows_prompt() -> None:
    def make() -> GPT2LMHeadModel:
        torch.manual_seed(0)
        dropout = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
        return GPT2LMHeadModel(GPT2Config(vocab_size=259, n_embd=16, n_layer=2, n_head=2, n_positions=32, **dropout))

    plain = results(make(), share_prompts=False, checkpointing=True)

    assert_equal(results(make(), share_prompts=True, checkpointing=True), plain)
    assert_equal(results(make(), share_prompts=True), plain)


def test_a_reentrant_checkpoint_is_not_shared() -> None:
    model = make_model().train()
    model.gradient_checkpointing_enable({"use_reentrant": True})
    inputs, _ = batch()

    assert share(model, inputs, 8) is None


def test_prompts_that_differ_are_not_shared() -> None:
    inputs, _ = batch()
    rows = [0, 1, 3]
    inputs = {name: value[rows] for name, value in inputs.items() if torch.is_tensor(value)}

    assert share(make_model(), inputs, 8) is None


def test_prompts_differ_by_their_masks_but_not_by_masked_tokens() -> None:
    ids = torch.tensor([[0, 0, 5, 6, 7], [0, 0, 5, 6, 7]])
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    other_padding = torch.tensor([[0, 0, 5, 6, 7], [9, 9, 5, 6, 7]])

    assert share(make_model(), {"input_ids": ids, "attention_mask": mask}, 1) is None
    assert share(make_model(), {"input_ids": other_padding, "attention_mask": mask[[0, 0]]}, 1) is not None


def test_a_routers_loss_and_recurrent_layers_are_not_shared() -> None:
    inputs, _ = batch()
    routed, recurrent = make_model(), make_model(model_type="lfm2", layer_types=["conv", "full_attention"])
    routed.config.output_router_logits = True

    assert share(make_model(), inputs, 8) is not None
    assert share(routed, inputs, 8) is None
    assert share(recurrent, inputs, 8) is None


def test_a_batch_of_padding_alone_is_left_as_it_is() -> None:
    inputs, _ = batch()
    inputs["attention_mask"][:] = 0

    trimmed, length = trim(inputs, 8)

    assert length == 8
    assert trimmed["input_ids"].shape == (6, 17)


def test_trimming_keeps_the_last_prompt_token_and_one_completion_column() -> None:
    inputs, _ = batch()
    inputs["attention_mask"][:, 9:] = 0

    trimmed, length = trim(inputs, 8)

    assert length == 1
    assert trimmed["input_ids"].shape == (6, 9 - 2 + 1)
    assert torch.equal(trimmed["input_ids"], inputs["input_ids"][:, 2:10])


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(prompt_sharing.logger, "warning_once", found.append)
    return found


@pytest.mark.parametrize("kind", ["attention", "module", "adapter", "embeddings"])
def test_prompts_are_not_shared_where_each_row_has_dropout_of_its_own(kind: str, warnings: list[str]) -> None:
    model: Any = make_model(**{"attention_dropout": 0.1} if kind == "attention" else {})
    if kind == "module":
        model.model.layers[0].mlp.act_fn = torch.nn.Sequential(torch.nn.SiLU(), torch.nn.Dropout(0.1))
    if kind == "adapter":
        model = get_peft_model(model, LoraConfig(target_modules=["q_proj"], lora_dropout=0.1)).get_base_model()
    if kind == "embeddings":
        model.get_input_embeddings().neftune_noise_alpha = 5.0
    inputs, _ = batch()

    assert share(model.eval(), inputs, 8) is not None
    assert warnings == []
    assert share(model.train(), inputs, 8) is None
    assert "because of dropout" in warnings[0]


def test_adapters_without_dropout_are_shared(warnings: list[str]) -> None:
    inputs, _ = batch()
    model = get_peft_model(make_model(), LoraConfig(target_modules=["q_proj"], lora_dropout=0.0)).get_base_model()

    assert share(model.train(), inputs, 8) is not None
    assert warnings == []


DYNAMIC = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
LONG = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0] * 4,
    "long_factor": [3.0] * 4,
    "factor": 4.0,
    "original_max_position_embeddings": 8,
}


@pytest.mark.parametrize(("rope", "longest"), [(DYNAMIC, 8), (LONG, 32)], ids=["dynamic", "longrope"])
def test_positions_that_depend_on_the_length_give_the_log_probs_of_the_ordinary_pass(
    rope: dict[str, Any], longest: int, warnings: list[str]
) -> None:
    settings: dict[str, Any] = {"rope_parameters": rope, "max_position_embeddings": longest}

    shared = results(make_model(**settings), share_prompts=True)

    assert_equal(shared, results(make_model(**settings), share_prompts=False))
    assert repr(rope["rope_type"]) in warnings[0]
    # Short of their limit they are like any others.
    inputs, _ = batch()
    room = {**rope, "original_max_position_embeddings": 32}
    assert share(make_model(max_position_embeddings=32, rope_parameters=room), inputs, 8) is not None
