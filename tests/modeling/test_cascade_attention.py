"""Attention over shared prompts equals ordinary attention."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from conftest import make_model
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import DynamicCache, LogitsProcessor, PreTrainedModel
from transformers.integrations import sdpa_attention
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from mot_trl import MixtureDecoder, Phases, build_strategy
from mot_trl.generation.phases import BudgetRule
from mot_trl.modeling import cpu_linear, shared_kv_cache
from mot_trl.modeling.kv_cache import preallocate
from mot_trl.modeling.shared_kv_cache import SharedPrefixTensor, expand
from mot_trl.strategies.one_token import OneToken

LENGTH, NEW = 40, 21

# transformers below 5.23 copies the keys that heads share, so that grouped heads read full tensors there.
needs_packed_heads = pytest.mark.skipif(
    not hasattr(sdpa_attention, "pack_gqa"), reason="transformers copies shared heads' keys"
)


@pytest.fixture(autouse=True)
def _rollouts_of_small_models(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(shared_kv_cache, "MIN_SAVED", 1)
    with torch.no_grad():
        yield


def read(prompts: list[int], *, heads: int = 2, value_size: int = 8) -> tuple[Tensor, Tensor]:
    """Keys and values in parts: prompts, then what each row has read since."""
    cache = DynamicCache()
    preallocate(cache)

    def new(rows: int, length: int) -> tuple[Tensor, Tensor]:
        return torch.randn(rows, heads, length, 8), torch.randn(rows, heads, length, value_size)

    cache.update(*new(max(prompts) + 1, LENGTH), 0)
    expand(cache, torch.tensor(prompts), share=True)
    for _ in range(NEW - 1):
        cache.update(*new(len(prompts), 1), 0)
    return cache.update(*new(len(prompts), 1), 0)


def module(*, groups: int) -> nn.Module:
    layer = nn.Module()
    layer.num_key_value_groups = groups
    return layer.eval()


def masks(rows: int, heads: int) -> dict[str, Tensor | None]:
    padded = torch.ones(rows, 1, 1, LENGTH + NEW, dtype=torch.bool)
    for row in range(rows):
        padded[row, ..., : 3 * (row // 2)] = False
        padded[row, ..., LENGTH + row : LENGTH + row + 2] = False
    return {
        "none": None,
        "bool": padded,
        "one for all": padded[:1],
        "added": torch.randn(rows, 1, 1, LENGTH + NEW).masked_fill(~padded, -torch.inf),
        "by head": padded & (torch.rand(rows, heads, 1, LENGTH + NEW) > 0.2),
    }


@pytest.mark.parametrize("mask", masks(1, 1))
@pytest.mark.parametrize("prompts", [[0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 1, 2, 2], [0] * 9 + [1, 2], [0, 0]], ids=str)
@pytest.mark.parametrize("groups", [1, pytest.param(3, marks=needs_packed_heads)])
@pytest.mark.parametrize("scaling", [None, 0.3])
def test_attention_to_parts_equals_attention_to_full_tensors(
    mask: str, prompts: list[int], groups: int, scaling: float | None
) -> None:
    torch.manual_seed(0)
    key, value = read(prompts, value_size=8 if groups == 1 else 5)
    query = torch.randn(len(prompts), 2 * groups, 1, 8)
    seen = masks(len(prompts), 2 * groups)[mask]

    ours, _ = sdpa_attention_forward(module(groups=groups), query, key, value, seen, scaling=scaling)
    assert not key.is_read
    assert not value.is_read
    theirs, _ = sdpa_attention_forward(
        module(groups=groups), query, key.kv.full(), value.kv.full(), seen, scaling=scaling
    )

    assert ours.shape == theirs.shape
    assert torch.allclose(ours, theirs, atol=1e-6)


def full_mask(length: int) -> Tensor:
    return torch.rand(4, 4, length, LENGTH + NEW) > 0.2


@pytest.mark.parametrize(
    ("options", "is_read"),
    [
        ({"attn_mask": torch.randn(1, 4, 1, LENGTH + NEW)}, False),
        ({"attn_mask": full_mask(1), "enable_gqa": True}, False),
        ({"attn_mask": full_mask(2), "length": 2}, False),
        ({"attn_mask": full_mask(2), "length": 2, "groups": 2, "enable_gqa": True}, True),
        ({"attn_mask": full_mask(1)[0, 0], "length": 1}, True),
        ({"dropout_p": 1.0}, True),
        ({"is_causal": True, "length": 2}, True),
    ],
    ids=["position bias", "heads", "two tokens", "two tokens of shared heads", "flat mask", "dropout", "causal"],
)
def test_calls_that_the_parts_do_not_allow_get_full_tensors(options: dict[str, Any], is_read: bool) -> None:
    options = dict(options)
    key, value = read([0, 0, 1, 1], heads=4 // options.pop("groups", 1))
    query = torch.randn(4, 4, options.pop("length", 1), 8)

    ours = F.scaled_dot_product_attention(query, key, value, **options)
    theirs = F.scaled_dot_product_attention(query, key.kv.full(), value.kv.full(), **options)

    assert key.is_read == is_read
    assert torch.allclose(ours, theirs, atol=1e-6)


class Rollouts:
    """The same rollouts with prompts shared and without."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch
        self.rows: list[list[int]] = []
        attend = shared_kv_cache.cascade_attention
        monkeypatch.setattr(
            shared_kv_cache,
            "cascade_attention",
            lambda query, keys, *args: self.rows.append(keys.groups.rows) or attend(query, keys, *args),
        )

    def __call__(self, model: PreTrainedModel, decode: Callable[[], Any]) -> tuple[Any, Any]:
        with torch.no_grad():
            ours = decode()
            with self.monkeypatch.context() as patch:
                patch.setattr(shared_kv_cache, "MIN_SAVED", 10**9)
                count = len(self.rows)
                theirs = decode()
        assert len(self.rows) == count
        return ours, theirs


@pytest.fixture
def rollouts(monkeypatch: pytest.MonkeyPatch) -> Rollouts:
    return Rollouts(monkeypatch)


def prompts() -> dict[str, Tensor]:
    """Three prompts of several lengths, padded on the left, with four, three and two rows."""
    torch.manual_seed(1)
    ids = torch.randint(8, 259, (3, 50)).repeat_interleave(torch.tensor([4, 3, 2]), dim=0)
    mask = torch.ones_like(ids)
    mask[:4, :15] = 0
    mask[7:, :2] = 0
    return {"input_ids": ids * mask, "attention_mask": mask}


@pytest.mark.parametrize(
    ("family", "options"),
    [
        pytest.param("llama", {}, marks=needs_packed_heads),
        ("llama", {"num_key_value_heads": 4}),
        pytest.param("qwen3", {}, marks=needs_packed_heads),
        pytest.param("gemma3", {"layer_types": ["sliding_attention", "full_attention"]}, marks=needs_packed_heads),
    ],
    ids=["llama", "llama without groups", "qwen3", "gemma3"],
)
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_rollouts_are_the_same_and_read_their_prompts_once(
    family: str, options: dict[str, Any], lora: bool, rollouts: Rollouts
) -> None:
    model: Any = make_model(family, **options)
    assert model.config._attn_implementation == "sdpa"
    if lora:
        model = get_peft_model(model, LoraConfig(target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    phases = Phases(rules=(BudgetRule(12),), closing_ids=(3, 4))

    def decode() -> tuple[Tensor, Any]:
        decoder = MixtureDecoder(build_strategy("top_k", k=3), phases)
        torch.manual_seed(2)
        ids = model.generate(
            **prompts(),
            custom_generate=decoder,
            max_new_tokens=70,
            do_sample=True,
            temperature=0.8,
            top_k=0,
            eos_token_id=list(range(8, 20)),
            pad_token_id=0,
        )
        return ids, decoder.rollout

    (ours, record), (theirs, other) = rollouts(model, decode)

    assert torch.equal(ours, theirs)
    assert torch.allclose(record.logps, other.logps, atol=1e-3)
    assert torch.equal(record.mixture_mask, other.mixture_mask)
    # Rows leave as they end.
    assert len(rollouts.rows[0]) >= 2
    assert len(set(map(tuple, rollouts.rows))) >= 3
    assert record.mixture_mask.any()


@pytest.mark.parametrize("attention", ["eager", pytest.param("sdpa", marks=needs_packed_heads)])
def test_greedy_tokens_are_transformers_own(attention: str, rollouts: Rollouts) -> None:
    model = make_model()
    model.set_attn_implementation(attention)
    options = {**prompts(), "max_new_tokens": 70, "do_sample": False, "eos_token_id": [], "pad_token_id": 0}
    decoder = MixtureDecoder(OneToken(), Phases())

    ours, theirs = rollouts(model, lambda: model.generate(**options, custom_generate=decoder))

    assert torch.equal(ours, theirs)
    assert torch.equal(ours, model.generate(**options))
    assert bool(rollouts.rows) == (attention == "sdpa")


def test_models_that_read_keys_themselves_get_full_tensors(
    monkeypatch: pytest.MonkeyPatch, rollouts: Rollouts
) -> None:
    model = make_model()
    update, shared = shared_kv_cache.SharedPrefixLayer.update, []

    def doubled(layer: Any, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        keys, values = update(layer, *args, **kwargs)
        shared.append(isinstance(keys, SharedPrefixTensor))
        return keys * 1.0, values

    monkeypatch.setattr(shared_kv_cache.SharedPrefixLayer, "update", doubled)
    options = {**prompts(), "max_new_tokens": 9, "do_sample": False, "eos_token_id": [], "pad_token_id": 0}
    decoder = MixtureDecoder(OneToken(), Phases())

    ours, theirs = rollouts(model, lambda: model.generate(**options, custom_generate=decoder))

    assert torch.equal(ours, theirs)
    assert not rollouts.rows
    # Once in each of two layers.
    assert shared[:16] == [True, True] + [False] * 14


@torch.enable_grad()
def test_tensors_from_rollouts_can_be_trained_on() -> None:
    model = make_model()
    decoder = MixtureDecoder(OneToken(), Phases())
    ids = model.generate(**prompts(), custom_generate=decoder, max_new_tokens=4, do_sample=False, pad_token_id=0)

    model(ids, labels=ids).loss.backward()
    (model.get_input_embeddings().weight[ids[:, -1]].sum() * decoder.rollout.logps.sum()).backward()

    assert not ids.is_inference()
    assert not decoder.rollout.logps.is_inference()
    assert model.model.embed_tokens.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("kind", ["plain", "sharded", "compiled", "a compiled layer", "elsewhere"])
def test_only_plain_models_on_a_cpu_drop_version_counters(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_linear, "is_sharded", lambda model: kind == "sharded")
    model: Any = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2, device="meta" if kind == "elsewhere" else "cpu"))
    if kind == "compiled":
        model[1].compile(backend="eager")
    if kind == "a compiled layer":
        model[1] = torch.compile(model[1], backend="eager")
    weight = nn.Parameter(torch.zeros(3))

    with cpu_linear.without_version_counters(model)(), torch.no_grad():
        weight.add_(1)

    assert (weight._version == 0) == (kind == "plain")


@pytest.mark.untyped("beartype's own code cannot be compiled")
@pytest.mark.slow
@pytest.mark.parametrize("whole", [True, False], ids=["model", "layers"])
def test_compiled_models_decode(whole: bool, rollouts: Rollouts) -> None:
    model = make_model()
    options = {**prompts(), "max_new_tokens": 12, "do_sample": False, "eos_token_id": [], "pad_token_id": 0}
    expected = model.generate(**options)
    for module in [model] if whole else model.model.layers:
        module.compile(backend="aot_eager")
    decoder = MixtureDecoder(OneToken(), Phases())

    assert torch.equal(model.generate(**options, custom_generate=decoder), expected)
    assert not rollouts.rows


@pytest.mark.parametrize("values", [torch.bfloat16, torch.float32], ids=str)
def test_autocast_turns_cascade_attention_off(values: torch.dtype, rollouts: Rollouts) -> None:
    model = make_model()
    for layer in model.model.layers:
        layer.self_attn.v_proj.register_forward_hook(lambda module, args, output: output.to(values))
    options = {**prompts(), "max_new_tokens": 12, "do_sample": False, "eos_token_id": [], "pad_token_id": 0}
    decoder = MixtureDecoder(OneToken(), Phases())

    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours, theirs = rollouts(model, lambda: model.generate(**options, custom_generate=decoder))

    assert torch.equal(ours, theirs)
    assert not rollouts.rows


def test_processors_may_take_gradients() -> None:
    model, gradients = make_model(), []

    class Guided(LogitsProcessor):
        def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
            with torch.enable_grad():
                leaf = scores.detach().requires_grad_()
                gradients.append(torch.autograd.grad(leaf.logsumexp(dim=-1).sum(), leaf)[0])
            return scores

    decoder = MixtureDecoder(OneToken(), Phases())
    model.generate(**prompts(), custom_generate=decoder, logits_processor=[Guided()], max_new_tokens=3, pad_token_id=0)

    assert len(gradients) == 3
    assert torch.allclose(gradients[0].sum(dim=-1), torch.ones(9))
