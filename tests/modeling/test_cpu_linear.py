"""Linear layers on oneDNN compute the same products."""

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import make_model, make_tokenizer
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from torch import nn

from mot_trl import MixtureDecoder, MoTGRPOConfig, MoTGRPOTrainer, Phases
from mot_trl.modeling import cpu_linear
from mot_trl.modeling.cpu_linear import onednn_linears
from mot_trl.strategies.one_token import OneToken

GIB = 2**30

needs_onednn = pytest.mark.skipif(not cpu_linear._has_onednn(), reason="oneDNN has no AVX-512 here")


@pytest.fixture(autouse=True)
def _all_layers_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_linear, "MIN_WEIGHTS", 1)


@needs_onednn
@pytest.mark.parametrize("lora", [False, True])
def test_logits_are_the_same_and_the_model_is_left_as_it_was(lora: bool) -> None:
    model = make_model(attention_bias=True)
    nn.init.normal_(model.model.layers[0].self_attn.o_proj.bias)
    if lora:
        model = get_peft_model(model, LoraConfig(target_modules=["q_proj", "lm_head"], init_lora_weights=False))
    ids = torch.randint(3, 259, (3, 7))

    with torch.no_grad():
        plain = model(ids).logits
        with onednn_linears(model):
            patched = [module for module in model.modules() if "forward" in vars(module)]
            ours = model(ids).logits
        after = model(ids).logits

    assert len(patched) >= 15
    assert torch.allclose(ours, plain, atol=1e-5)
    assert torch.equal(after, plain)
    assert not any("forward" in vars(module) for module in model.modules() if type(module) is nn.Linear)


@pytest.fixture
def packings(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """The weights that were packed."""
    found: list[torch.Tensor] = []
    product = cpu_linear._product
    monkeypatch.setattr(
        cpu_linear,
        "_product",
        lambda inputs, weight, *args: (found.append(weight), product(inputs, weight, *args))[1],
    )
    return found


def packed_among(weights: list[torch.Tensor]) -> set[int]:
    return {id(weight) for weight in weights if weight.layout == torch._mkldnn}


@needs_onednn
@pytest.mark.parametrize("lora", [False, True])
def test_packed_weights_give_the_same_products(lora: bool, packings: list[torch.Tensor]) -> None:
    model = make_model(attention_bias=True)
    if lora:
        model = get_peft_model(model, LoraConfig(target_modules=["q_proj", "lm_head"], init_lora_weights=False))
    layers = sum(type(module) is nn.Linear for module in model.modules())

    for seed in range(2):
        ids = torch.randint(3, 259, (3, 7))
        with torch.no_grad():
            plain = model(ids).logits
            with onednn_linears(model, packed=True):
                ours = [model(ids).logits, model(ids[:1, :1]).logits]
            # What has been learnt meanwhile is packed anew.
            for weight in model.parameters():
                weight.add_(0.01 * torch.randn_like(weight))
        assert torch.allclose(ours[0], plain, atol=1e-5)
        assert torch.allclose(ours[1], plain[:1, :1], atol=1e-5)
        # Once a layer, however often it multiplies.
        assert len(packed_among(packings)) == layers * (seed + 1)
    assert len(packings) == 4 * layers


@needs_onednn
def test_weights_are_not_packed_where_a_gradient_is_needed(packings: list[torch.Tensor]) -> None:
    layer = nn.Linear(8, 16)
    with onednn_linears(layer, packed=True):
        layer(torch.randn(3, 8)).sum().backward()

    assert packings
    assert not packed_among(packings)
    assert layer.weight.grad is not None


@needs_onednn
@pytest.mark.parametrize(("available", "packs"), [(4 * 2 * 8 * 16 * 4, True), (4 * 2 * 8 * 16 * 4 - 1, False)])
def test_packed_copies_take_at_most_a_quarter_of_the_available_memory(
    available: int, packs: bool, packings: list[torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu_linear, "available_memory", lambda: available)
    layers = nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 8))
    with torch.no_grad(), onednn_linears(layers, packed=True):
        layers(torch.randn(3, 8))

    assert len(packed_among(packings)) == (2 if packs else 0)
    assert len(packings) == 2


@needs_onednn
@pytest.mark.parametrize(("rows", "steps", "packs"), [(2, 64, True), (2, 63, False), (1, 64, False)])
def test_long_rollouts_of_several_rows_pack_weights(
    rows: int, steps: int, packs: bool, packings: list[torch.Tensor]
) -> None:
    model, ids = make_model(), torch.randint(3, 259, (rows, 5))
    options = {"max_new_tokens": steps, "do_sample": False, "eos_token_id": [], "pad_token_id": 0}
    ours = model.generate(ids, custom_generate=MixtureDecoder(OneToken(), Phases()), **options)

    assert bool(packed_among(packings)) == packs
    assert torch.equal(ours, model.generate(ids, **options))


@needs_onednn
def test_a_rollout_within_a_training_step_packs_and_leaves_the_step_as_it_was(
    tmp_path: Path, prompts: Dataset, packings: list[torch.Tensor]
) -> None:
    settings: dict[str, Any] = {
        "per_device_train_batch_size": 4,
        "num_generations": 4,
        "max_completion_length": 64,
        "max_steps": 1,
        "use_cpu": True,
        "bf16": False,
        "report_to": [],
        "save_strategy": "no",
    }
    grad_modes: dict[bool, list[bool]] = {False: [], True: []}
    forward = cpu_linear._Forward.__call__

    class Watched(cpu_linear._Forward):
        def __call__(self, input: torch.Tensor) -> torch.Tensor:
            grad_modes[torch.is_grad_enabled()].append(self.packs)
            return forward(self, input)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu_linear, "_Forward", Watched)
        trainer = MoTGRPOTrainer(
            make_model(),
            lambda completions, **_: [float(len(completion[0]["content"])) for completion in completions],
            MoTGRPOConfig(str(tmp_path), **settings),
            train_dataset=prompts,
            processing_class=make_tokenizer(),
        )
        trainer.train()

    assert packed_among(packings)
    assert grad_modes[False]
    assert all(grad_modes[False])
    assert grad_modes[True]
    assert not any(grad_modes[True])
    assert not any("forward" in vars(module) for module in trainer.model.modules() if type(module) is nn.Linear)


@needs_onednn
def test_nested_contexts_restore_the_outer_one() -> None:
    layer, other = nn.Linear(8, 16), nn.Linear(8, 16)
    with onednn_linears(layer):
        before = vars(layer)["forward"]
        with onednn_linears(layer, other, packed=True):
            assert vars(layer)["forward"].packs
        assert vars(layer)["forward"] is before
        assert "forward" not in vars(other)
    assert "forward" not in vars(layer)


@needs_onednn
def test_a_model_copied_inside_the_context_learns() -> None:
    layer, inputs = nn.Linear(8, 16), torch.randn(3, 8)
    with torch.no_grad(), onednn_linears(layer, packed=True):
        layer(inputs)
        other = copy.deepcopy(layer)
        other.weight.zero_()

        assert torch.equal(other(input=inputs), other.bias.expand(3, 16))
        assert not torch.allclose(layer(inputs), layer.bias.expand(3, 16), atol=1e-2)


@needs_onednn
def test_small_layers_multiply_with_packed_weights_sooner(
    packings: list[torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu_linear, "MIN_WEIGHTS", 8 * 16 + 1)
    monkeypatch.setattr(cpu_linear, "MIN_WORK", 4 * 8 * 16)
    monkeypatch.setattr(cpu_linear, "MIN_PACKED_WORK", 2 * 8 * 16)
    layer, counts = nn.Linear(8, 16), []
    for packed in (False, True):
        with torch.no_grad(), onednn_linears(layer, packed=packed):
            for rows in (0, 1, 2, 3, 4):
                layer(torch.randn(rows, 8))
        counts.append(len(packings))

    assert counts == [1, 1 + 3]


@needs_onednn
def test_autocast_and_other_dtypes_use_pytorchs_product() -> None:
    layer = nn.Linear(64, 64)
    inputs = torch.randn(3, 64)

    with torch.no_grad(), onednn_linears(layer), torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(inputs).dtype == torch.bfloat16
    with torch.no_grad(), onednn_linears(layer.bfloat16()):
        assert "forward" not in vars(layer)


@needs_onednn
def test_modified_layers_are_left_alone() -> None:
    class Own(nn.Linear):
        pass

    hooked = nn.Linear(8, 8)
    hooked.forward = forward = hooked.forward
    partitioned = nn.Linear(8, 8)
    partitioned.weight.data = torch.empty(0)
    model = nn.ModuleList([Own(8, 8), hooked, nn.Linear(8, 8, device="meta"), partitioned])

    with onednn_linears(model):
        assert [vars(layer).get("forward") for layer in model] == [None, forward, None, None]
    assert vars(hooked)["forward"] is forward


@needs_onednn
def test_small_products_use_pytorchs_product(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, rows = nn.Linear(8, 16), []
    product = cpu_linear._product
    monkeypatch.setattr(cpu_linear, "MIN_WEIGHTS", 8 * 16 + 1)
    monkeypatch.setattr(cpu_linear, "MIN_WORK", 4 * 8 * 16)
    monkeypatch.setattr(
        cpu_linear, "_product", lambda inputs, *args: (rows.append(len(inputs)), product(inputs, *args))[1]
    )

    with torch.no_grad(), onednn_linears(layer):
        for count in (3, 4, 0, 5):
            layer(torch.randn(count, 8))
    monkeypatch.setattr(cpu_linear, "MIN_WEIGHTS", 8 * 16)
    with torch.no_grad(), onednn_linears(layer):
        for count in (0, 1):
            layer(torch.randn(count, 8))

    assert rows == [4, 5, 1]


@needs_onednn
def test_it_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = nn.Linear(8, 8)
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)

    with onednn_linears(layer):
        assert "forward" not in vars(layer)


@needs_onednn
@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "recomputed"])
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_gradients_are_the_same(lora: bool, checkpointing: bool) -> None:
    model: Any = make_model(attention_bias=True, tie_word_embeddings=True)
    if lora:
        model = get_peft_model(model, LoraConfig(target_modules=["q_proj", "down_proj"], init_lora_weights=False))
    if checkpointing:
        model.gradient_checkpointing_enable()
        model.enable_input_require_grads()
    ids = torch.randint(3, 259, (3, 7))

    def gradients() -> dict[str, torch.Tensor]:
        model.zero_grad()
        model.train()(ids, labels=ids).loss.backward()
        return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.requires_grad}

    plain = gradients()
    with onednn_linears(model):
        ours = gradients()

    assert len(plain) >= 8
    for name, gradient in plain.items():
        assert torch.allclose(ours[name], gradient, rtol=1e-5, atol=1e-5 * gradient.abs().max().item()), name


@needs_onednn
@pytest.mark.parametrize("shape", [(0, 8), (2, 0, 8), (8,), (1, 1, 8)], ids=str)
def test_odd_shapes_have_gradients_too(shape: tuple[int, ...]) -> None:
    layer, inputs = nn.Linear(8, 16), torch.randn(shape, requires_grad=True)

    def gradients() -> list[torch.Tensor]:
        outputs = layer(inputs)
        # A sum's gradient is one number, seen from everywhere.
        return [outputs, *torch.autograd.grad(outputs.sum(), [inputs, layer.weight, layer.bias])]

    plain = gradients()
    with onednn_linears(layer):
        ours = gradients()

    for mine, other in zip(ours, plain, strict=True):
        assert mine.shape == other.shape
        assert torch.allclose(mine, other, rtol=1e-5, atol=1e-5)


@needs_onednn
def test_outputs_can_be_changed_in_place() -> None:
    layer, inputs = nn.Linear(8, 16), torch.randn(2, 3, 8)

    def gradient() -> torch.Tensor:
        layer.zero_grad()
        outputs = layer(inputs)
        outputs[0] *= 2
        outputs.square().sum().backward()
        assert layer.weight.grad is not None
        return layer.weight.grad.clone()

    plain = gradient()
    with onednn_linears(layer):
        ours = gradient()

    assert torch.allclose(ours, plain, rtol=1e-5, atol=1e-5)


@needs_onednn
def test_training_with_onednn_learns_the_same(
    tmp_path: Path, prompts: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_model().save_pretrained(tmp_path / "model")

    def train(folder: str) -> dict[str, torch.Tensor]:
        settings: dict[str, Any] = {
            "per_device_train_batch_size": 4,
            "num_generations": 4,
            "max_completion_length": 8,
            "max_steps": 2,
            "learning_rate": 1e-2,
            "optim": "sgd",
            "beta": 0.1,
            "strategy": "dirichlet",
            "mixture_k": 3,
            "use_cpu": True,
            "bf16": False,
            "report_to": [],
            "save_strategy": "no",
        }
        trainer = MoTGRPOTrainer(
            str(tmp_path / "model"),
            lambda completions, **_: [float(len(completion[0]["content"])) for completion in completions],
            MoTGRPOConfig(str(tmp_path / folder), **settings),
            train_dataset=prompts,
            processing_class=make_tokenizer(),
        )
        trainer.train()
        for model in (trainer.model, trainer.ref_model):
            assert model is not None
            assert not any("forward" in vars(module) for module in model.modules() if type(module) is nn.Linear)
        return {name: weight.detach() for name, weight in trainer.model.named_parameters()}

    forward_products, backward_products = [], []
    product, backward = cpu_linear._product, cpu_linear._Linear.backward
    monkeypatch.setattr(cpu_linear, "_product", lambda *args: (forward_products.append(args), product(*args))[1])
    monkeypatch.setattr(
        cpu_linear._Linear, "backward", lambda *args: (backward_products.append(args), backward(*args))[1]
    )
    ours = train("ours")
    counts = len(forward_products), len(backward_products)
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    plain = train("plain")

    layers = sum(type(module) is nn.Linear for module in make_model().model.modules())
    assert counts[1] >= 2 * layers
    assert (len(forward_products), len(backward_products)) == counts
    start = dict(make_model().named_parameters())
    for name, weight in plain.items():
        moved = (weight - start[name]).abs().max().item()
        assert moved > 0, name
        assert torch.allclose(ours[name], weight, atol=1e-3 * moved), name


def machine(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 8),
        # The group has no limit; the one above it has.
        (
            {
                "proc/self/cgroup": "0::/job/step\n",
                "sys/fs/cgroup/job/step/memory.max": "max\n",
                "sys/fs/cgroup/job/step/memory.current": f"{GIB}\n",
                "sys/fs/cgroup/job/memory.max": f"{6 * GIB}\n",
                "sys/fs/cgroup/job/memory.current": f"{2 * GIB}\n",
            },
            4,
        ),
        # Inside a container its own group is at the root, whatever its name outside.
        (
            {
                "proc/self/cgroup": "0::/../../pod\n",
                "sys/fs/cgroup/memory.max": f"{3 * GIB}\n",
                "sys/fs/cgroup/memory.current": f"{GIB}\n",
            },
            2,
        ),
        (
            {
                "proc/self/cgroup": "5:cpu,cpuacct:/a\n4:memory:/docker/abc\n0::/\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{2 * GIB}\n",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{GIB}\n",
                # Of another group, which has the name of ours among processors.
                "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "1\n",
                "sys/fs/cgroup/memory/a/memory.usage_in_bytes": "0\n",
            },
            1,
        ),
        (
            {
                "proc/self/cgroup": "0::/\n",
                "sys/fs/cgroup/memory.max": f"{GIB}\n",
                "sys/fs/cgroup/memory.current": f"{2 * GIB}\n",
            },
            0,
        ),
    ],
    ids=["bare", "batch job", "container", "version 1", "over its limit"],
)
def test_available_memory_is_within_the_tightest_limit(
    tmp_path: Path, files: dict[str, str], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu_linear.psutil, "virtual_memory", lambda: SimpleNamespace(available=8 * GIB))

    assert cpu_linear.available_memory(machine(tmp_path, files)) == expected * GIB


def test_no_weights_are_packed_without_psutil(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_linear, "psutil", None)

    assert cpu_linear.available_memory() == 0
