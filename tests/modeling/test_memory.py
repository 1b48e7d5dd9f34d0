"""Counting memory from shapes: against models that are really built, run and trained."""

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    PretrainedConfig,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
)
from trl.kernels import chunked_logprob
from trl.trainer import utils

from mot_trl.modeling.memory import TILE, Run, choose_batch, fits, memory_of
from mot_trl.modeling.rollout import Rollout
from mot_trl.modeling.shape import ModelShape, shape_of

SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 96,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
EXPERTS: dict[str, Any] = {"moe_intermediate_size": 48, "num_experts": 8, "num_experts_per_tok": 2}
CONFIGS: dict[str, PretrainedConfig] = {
    "llama": LlamaConfig(**SIZES),
    "tied": Qwen2Config(**SIZES, tie_word_embeddings=True),
    "all_heads": LlamaConfig(**SIZES | {"num_key_value_heads": 4}),
    "normed_queries": Qwen3Config(**SIZES),
    "windows": Gemma3TextConfig(
        **SIZES, sliding_window=4, layer_types=["sliding_attention", "full_attention"], tie_word_embeddings=True
    ),
    "experts": Qwen3MoeConfig(**SIZES, **EXPERTS),
}
EACH = pytest.mark.parametrize("name", CONFIGS)


def build(name: str, dtype: torch.dtype = torch.float32) -> Any:
    return AutoModelForCausalLM.from_config(CONFIGS[name], dtype=dtype)


def nbytes(tensors: Any) -> int:
    return sum(tensor.nbytes for tensor in tensors)


@EACH
def test_weights_gradients_and_optimizer_are_those_of_a_trained_model(name: str) -> None:
    model = build(name)
    optimizer = torch.optim.AdamW(model.parameters(), foreach=False)
    # Experts that no token is sent to would have no gradient.
    sum(parameter.sum() for parameter in model.parameters()).backward()
    optimizer.step()

    memory = memory_of(shape_of(CONFIGS[name]), Run())

    moments = [state[key] for state in optimizer.state.values() for key in ("exp_avg", "exp_avg_sq")]
    assert memory.held["weights"] == nbytes(model.parameters())
    assert memory.training["gradients"] == nbytes(p.grad for p in model.parameters())
    assert memory.held["AdamW"] == nbytes(moments)


@EACH
def test_the_cache_is_that_of_a_forward_pass(name: str) -> None:
    ids = torch.ones(3, 24, dtype=torch.long)
    with torch.no_grad():
        cache = build(name)(ids, use_cache=True).past_key_values

    run = Run(per_device_train_batch_size=3, gradient_accumulation_steps=1, prompt_length=14, max_completion_length=10)
    counted = memory_of(shape_of(CONFIGS[name]), run).rollout["key-value cache"]

    # A window's cache leaves out the token that is about to come.
    spare = 3 * 2 * 2 * 16 * 4 if name == "windows" else 0
    assert counted == nbytes(each for layer in cache.layers for each in (layer.keys, layer.values)) + spare


@EACH
def test_what_layers_keep_is_within_a_quarter_of_what_autograd_saves(name: str) -> None:
    model = build(name, torch.bfloat16)
    own = {each.untyped_storage().data_ptr() for each in (*model.parameters(), *model.buffers())}
    saved: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.base_model(torch.ones(2, 128, dtype=torch.long), use_cache=False)

    measured = sum(each.untyped_storage().nbytes() for place, each in saved.items() if place not in own)
    run = Run(weight_bytes=2, per_device_train_batch_size=2, prompt_length=64, max_completion_length=64)
    counted = memory_of(shape_of(CONFIGS[name]), run).training["activations"]
    everything = memory_of(shape_of(CONFIGS[name]), Run(**{**vars(run), "gradient_checkpointing": False}))
    assert 0.7 < measured / everything.training["activations"] < 1.25
    assert counted < everything.training["activations"]


def test_an_adapter_is_that_of_peft() -> None:
    adapted = get_peft_model(build("tied"), LoraConfig(r=4, target_modules="all-linear"))

    shape = shape_of(CONFIGS["tied"], lora_r=4)

    # Per layer: queries and outputs 64 + 64, keys and values 64 + 32, and three times 64 + 160.
    assert shape.adapter == 2 * 4 * (2 * 128 + 2 * 96 + 3 * 224)
    assert shape.adapter == sum(p.numel() for p in adapted.parameters() if p.requires_grad)


def test_a_record_is_that_of_a_rollout() -> None:
    rollout = Rollout.empty(3, 10, num_candidates=5, device="cpu")
    run = Run(mixture_k=5, per_device_train_batch_size=3, gradient_accumulation_steps=1, max_completion_length=10)

    per_token = [v for v in vars(rollout).values() if v is not None and v.dim() > 1]
    assert memory_of(SHAPE, run).held["record"] == nbytes(per_token)


SHAPE: ModelShape = shape_of(CONFIGS["llama"])


def test_sharding_divides_what_is_held_and_gathers_what_computes() -> None:
    one, sharded, zero = (memory_of(SHAPE, Run(gpus=4, sharding=kind, beta=0.1)) for kind in ("ddp", "fsdp2", "zero3"))

    for key in ("weights", "AdamW", "reference"):
        assert sharded.held[key] == zero.held[key] == one.held[key] / 4
    assert sharded.training["gradients"] == one.training["gradients"] / 8  # DDP's buckets are a copy
    assert sharded.rollout["gathered"] == 2 * SHAPE.largest * 4
    assert zero.rollout["gathered"] == one.held["weights"]


def test_quantizing_shrinks_the_linear_weights_alone() -> None:
    lora, qlora = (memory_of(SHAPE, Run(method=method, weight_bytes=2)).held for method in ("lora", "qlora"))

    assert lora["weights"] - qlora["weights"] == SHAPE.linear * (2 - 0.5625)
    assert lora["AdamW"] == qlora["AdamW"] == SHAPE.adapter * 8
    assert lora["reference"] == 0


def test_vllm_takes_its_share_in_place_of_the_cache() -> None:
    memory = memory_of(SHAPE, Run(vllm_share=0.3, memory=10))

    assert memory.held["vLLM"] == 3 * 2**30
    assert sum(memory.rollout.values()) == 0


@pytest.mark.parametrize("gpus", [1, 3, 8])
@pytest.mark.parametrize("memory", [1.2, 2, 80])
def test_the_chosen_batch_fits_and_holds_whole_groups(gpus: int, memory: float) -> None:
    run = choose_batch(SHAPE, Run(gpus=gpus, memory=memory), completions=64)

    assert fits(SHAPE, run)
    assert run.rows * gpus % run.num_generations == 0


def test_where_nothing_fits_the_smallest_is_given() -> None:
    run = choose_batch(SHAPE, Run(memory=0.5), completions=64)

    assert not fits(SHAPE, run)
    assert run.per_device_train_batch_size == 1
    assert run.rows == run.num_generations


def test_the_tile_of_logits_is_that_of_the_fused_head() -> None:
    full, lora = (memory_of(SHAPE, Run(method=method)).training for method in ("full", "lora"))

    assert full["logits"] == lora["logits"] == 4096 * 96 * (4 + 4 + 4)
    assert (full["head's gradient"], lora["head's gradient"]) == (96 * 64 * 4, 0)
    assert TILE == (chunked_logprob.TOKEN_CHUNK_SIZE, utils._CHUNKED_LOGPROB_CHUNK_SIZE)
