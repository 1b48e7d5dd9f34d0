"""Mixtures enter at the embedding module, and nowhere else."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from conftest import make_model
from embedding import peak_bytes
from peft import LoraConfig, get_peft_model
from transformers import PreTrainedModel

from mot_trl.modeling import embedding
from mot_trl.modeling.embedding import Blend, override_embeddings
from mot_trl.modeling.weighted_lookup import weighted_lookup
from mot_trl.strategies.elementwise_max import ElementwiseMax
from mot_trl.strategies.mixture import MixtureInputs, blend, is_mixed

IDS = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]])
CANDIDATES = torch.tensor([[[7, 20], [8, 30]], [[11, 40], [12, 50]]])
LOG_WEIGHTS = torch.tensor([0.75, 0.25]).log().expand(2, 2, 2)
MASK = torch.tensor([[True, False], [True, True]])


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_the_blend_is_of_the_modules_own_outputs(family: str) -> None:
    model = make_model(family)
    module = model.get_input_embeddings()

    with override_embeddings(model) as override:
        override.inputs = MixtureInputs(CANDIDATES, LOG_WEIGHTS, MASK)
        mixed = module(IDS)

    plain = module(IDS)
    blends = 0.75 * module(CANDIDATES[..., 0]) + 0.25 * module(CANDIDATES[..., 1])
    assert torch.equal(mixed[:, :2], plain[:, :2])
    assert torch.allclose(mixed[:, 2:], torch.where(MASK.unsqueeze(-1), blends, plain[:, 2:]))
    assert override.calls == 1


def test_other_calls_and_later_ones_are_left_alone(model: PreTrainedModel) -> None:
    module = model.get_input_embeddings()

    with override_embeddings(model) as override:
        override.inputs = MixtureInputs(CANDIDATES, LOG_WEIGHTS, MASK)
        one = module(torch.tensor([[5]]))
        short = module(IDS[:, :1])
    after = module(IDS)

    assert torch.equal(one, module.weight[5].view(1, 1, -1))
    assert torch.equal(short, module.weight[IDS[:, :1]])
    assert torch.equal(after, module.weight[IDS])
    assert "forward" not in vars(module)


def test_a_patched_forward_of_the_module_is_restored(model: PreTrainedModel) -> None:
    module = model.get_input_embeddings()
    module.forward = own = partial(type(module).forward, module)

    with override_embeddings(model):
        assert module.forward is not own

    assert vars(module)["forward"] is own


def test_gradient_reaches_every_candidate_by_its_weight(model: PreTrainedModel) -> None:
    with override_embeddings(model) as override:
        override.inputs = MixtureInputs(CANDIDATES, LOG_WEIGHTS, MASK)
        model.get_input_embeddings()(IDS).sum().backward()

    gradient = model.get_input_embeddings().weight.grad.mean(dim=-1)
    assert torch.allclose(gradient[[7, 20, 11, 40, 12, 50]], torch.tensor([0.75, 0.25, 0.75, 0.25, 0.75, 0.25]))
    assert gradient[30] == 0
    assert gradient[8] == 1


def test_an_adapter_on_the_embeddings_is_part_of_the_blend(model: PreTrainedModel) -> None:
    adapted = get_peft_model(model, LoraConfig(target_modules=["embed_tokens"], init_lora_weights=False))
    module = adapted.get_input_embeddings()

    with override_embeddings(adapted.get_base_model()) as override:
        override.inputs = MixtureInputs(CANDIDATES, LOG_WEIGHTS, MASK)
        mixed = module(IDS)

    blends = 0.75 * module(CANDIDATES[..., 0]) + 0.25 * module(CANDIDATES[..., 1])
    assert torch.allclose(mixed[1, 2:], blends[1], atol=1e-6)
    assert not torch.allclose(module(IDS), module.base_layer(IDS))


def test_an_unused_candidate_adds_nothing() -> None:
    embeddings = torch.randn(1, 2, 4)

    blended = blend(embeddings, torch.tensor([[0.0, -torch.inf]]))

    assert torch.equal(blended, embeddings[:, 0])


def test_a_lone_candidate_is_no_mixture() -> None:
    assert is_mixed(torch.tensor([[-0.7, -0.7], [0.0, -torch.inf], [0.0, -200.0]])).tolist() == [True, False, False]


def test_half_precision_is_summed_in_float32_under_autocast() -> None:
    embeddings = torch.randn(3, 4, 16, dtype=torch.bfloat16)
    log_weights = torch.randn(3, 4).log_softmax(-1)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        blended = blend(embeddings, log_weights)

    exact = (log_weights.exp().unsqueeze(-1) * embeddings.float()).sum(1)
    assert torch.equal(blended, exact.bfloat16())


def rows_of_tables(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: weight.grad.clone() for name, weight in module.named_parameters() if weight.grad is not None}


def embedded(module: torch.nn.Module, model: PreTrainedModel, how: Blend) -> tuple[torch.Tensor, dict]:
    """What the module gives for mixtures, half of them in the padding token, and its gradients."""
    module.zero_grad()
    candidate_ids = torch.cat([CANDIDATES, torch.zeros_like(CANDIDATES[..., :1])], dim=-1).int()
    log_weights = torch.tensor([0.5, 0.2, 0.3]).log().expand(2, 2, 3)
    with override_embeddings(model, how) as override:
        override.inputs = MixtureInputs(candidate_ids, log_weights, MASK)
        mixed = module(IDS)
    upstream = torch.randn(mixed.shape, generator=torch.Generator().manual_seed(0)).to(mixed.dtype)
    if mixed.requires_grad:
        mixed.backward(upstream)
    return mixed.detach(), rows_of_tables(module)


def wrapped(kind: str) -> tuple[PreTrainedModel, torch.nn.Module]:
    family = "gemma3" if kind.startswith("scaled") else "llama"
    model = make_model(family)
    torch.nn.init.normal_(model.get_input_embeddings().weight)  # the padding token's row, too
    adapters = {
        "lora": {"target_modules": ["embed_tokens"], "init_lora_weights": False},
        "trainable tokens": {"target_modules": ["q_proj"], "trainable_token_indices": [7, 20]},
        "saved": {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
    }
    settings = adapters.get(kind.removeprefix("scaled ").strip())
    if settings is not None:
        get_peft_model(model, LoraConfig(**settings))
    return model, model.get_input_embeddings()


@pytest.mark.parametrize("how", [blend, ElementwiseMax().blend], ids=["sum", "maximum"])
@pytest.mark.parametrize(
    "kind", ["plain", "scaled", "lora", "scaled lora", "trainable tokens", "scaled trainable tokens", "saved"]
)
def test_values_and_gradients_are_those_of_the_blend_of_the_outputs(
    kind: str, how: Blend, monkeypatch: pytest.MonkeyPatch
) -> None:
    if how is blend:
        monkeypatch.delattr(embedding, "blend_in_blocks")  # the way of unknown modules, which takes more time
    model, module = wrapped(kind)
    ours, gradients = embedded(module, model, how)

    module.zero_grad()
    candidate_ids = torch.cat([CANDIDATES, torch.zeros_like(CANDIDATES[..., :1])], dim=-1)
    log_weights = torch.tensor([0.5, 0.2, 0.3]).log().expand(4, 3)
    blends = how(module(candidate_ids.flatten(0, 1)), log_weights).view(2, 2, -1)
    plain = module(IDS)
    expected = torch.cat([plain[:, :2], torch.where(MASK.unsqueeze(-1), blends, plain[:, 2:])], dim=1)
    expected.backward(torch.randn(expected.shape, generator=torch.Generator().manual_seed(0)))

    assert torch.allclose(ours, expected.detach(), atol=1e-5)
    assert gradients.keys() == rows_of_tables(module).keys()
    assert gradients
    for name, gradient in rows_of_tables(module).items():
        assert torch.allclose(gradients[name], gradient, atol=1e-5), name


class Squared(torch.nn.Embedding):
    """Not linear in its one-hot input."""

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return super().forward(ids).square()


class ByHand(torch.nn.Module):
    """Reads its table otherwise than by PyTorch's function."""

    def __init__(self, table: torch.nn.Embedding) -> None:
        super().__init__()
        self.weight = table.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.weight[ids]


@pytest.mark.parametrize("kind", [Squared, ByHand, "max_norm", "norm", "adapted norm"])
def test_a_module_of_any_kind_has_its_outputs_blended(model: PreTrainedModel, kind: object) -> None:
    table = model.get_input_embeddings()
    if kind is Squared:
        table = Squared.from_pretrained(table.weight.detach(), freeze=False)
    elif kind is ByHand:
        table = ByHand(table)
    elif kind == "norm":
        table = torch.nn.Sequential(table, torch.nn.LayerNorm(32))
    elif kind == "adapted norm":
        table = Squared.from_pretrained(table.weight.detach(), freeze=False)
        model.set_input_embeddings(table)
        get_peft_model(model, LoraConfig(target_modules=["embed_tokens"], init_lora_weights=False))
        table = model.get_input_embeddings()
    else:
        table = torch.nn.Embedding.from_pretrained(table.weight.detach(), freeze=False, max_norm=0.5)
    if kind != "adapted norm":
        model.set_input_embeddings(table)

    ours, gradients = embedded(table, model, blend)

    candidates = table(torch.cat([CANDIDATES, torch.zeros_like(CANDIDATES[..., :1])], dim=-1).flatten(0, 1))
    blends = blend(candidates, torch.tensor([0.5, 0.2, 0.3]).log().expand(4, 3)).view(2, 2, -1)
    assert torch.allclose(ours[:, 2:][MASK], blends[MASK], atol=1e-5)
    assert any(gradient.any() for gradient in gradients.values())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_tables_are_summed_in_float32(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    table = torch.nn.Embedding(300, 64, dtype=dtype)
    candidate_ids, log_weights = torch.randint(300, (4, 8, 16)), torch.randn(4, 8, 16).log_softmax(-1)
    inputs = MixtureInputs(candidate_ids, log_weights, torch.ones(4, 8, dtype=torch.bool))

    ours = weighted_lookup(table, torch.randint(300, (4, 8)), inputs)

    exact = (log_weights.double().exp().unsqueeze(-1) * table.weight[candidate_ids].double()).sum(-2)
    assert ours is not None
    # Half a unit in the last place; weights in half precision would double the error.
    assert ((ours - exact).abs() <= 0.51 * torch.finfo(dtype).eps * exact.abs() + 1e-4 * torch.finfo(dtype).eps).all()


def looked_up(table: torch.nn.Embedding, k: int | None, *, gradient: bool) -> Callable[[], object]:
    """A call that looks 4 x 64 tokens up, all of them mixtures if there is a `k`."""
    model = make_model()
    model.set_input_embeddings(table)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(len(table.weight), (4, 64), generator=generator)
    candidate_ids = torch.randint(len(table.weight), (4, 64, k or 1), generator=generator, dtype=torch.int32)
    log_weights = torch.randn(4, 64, k or 1, generator=generator).log_softmax(-1)
    inputs = MixtureInputs(candidate_ids, log_weights, torch.ones(4, 64, dtype=torch.bool))

    def call() -> torch.Tensor:
        with override_embeddings(model) as override, torch.set_grad_enabled(gradient):
            override.inputs = None if k is None else inputs
            embeddings = table(ids)
            if gradient:
                embeddings.sum().backward()
        return embeddings

    return call


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("size", "width"), [(200, 256), (4000, 256), (200, 32)])
@pytest.mark.parametrize("gradient", [False, True])
def test_mixtures_take_at_most_two_and_a_half_times_the_memory_of_tokens(
    dtype: torch.dtype, size: int, width: int, gradient: bool
) -> None:
    table = torch.nn.Embedding(size, width, dtype=dtype)
    tokens = peak_bytes(looked_up(table, None, gradient=gradient))

    for k in (3, 20, 64):
        table.weight.grad = None  # what is freed inside would count as memory won
        assert peak_bytes(looked_up(table, k, gradient=gradient)) <= 2.5 * tokens, k


def test_a_maximum_is_not_taken_of_all_candidates_at_once() -> None:
    model, sizes = make_model(), []
    strategy = ElementwiseMax(k=8)

    def how(embeddings: torch.Tensor, log_weights: torch.Tensor) -> torch.Tensor:
        sizes.append(embeddings.numel())
        return strategy.blend(embeddings, log_weights)

    with override_embeddings(model, how) as override:
        candidate_ids, log_weights = torch.randint(259, (4, 80, 8)), torch.randn(4, 80, 8).log_softmax(-1)
        override.inputs = MixtureInputs(candidate_ids, log_weights, torch.ones(4, 80, dtype=torch.bool))
        embeddings = model.get_input_embeddings()(torch.ones(4, 80, dtype=torch.long))

    assert max(sizes) <= embeddings.numel() // 8
    assert torch.equal(embeddings[0, 0], model.get_input_embeddings()(candidate_ids[0, 0]).amax(dim=0))
