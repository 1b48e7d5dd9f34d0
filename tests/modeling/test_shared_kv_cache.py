"""The layer that stores shared prompts once holds the states of the stock layer."""

import copy
import pickle
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache

from mot_trl.modeling import shared_kv_cache
from mot_trl.modeling.kv_cache import PreallocatedLayer, preallocate
from mot_trl.modeling.shared_kv_cache import SharedPrefixLayer, SharedPrefixTensor, expand

PROMPTS = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2])


@pytest.fixture(autouse=True)
def _rollouts_of_small_models(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(shared_kv_cache, "MIN_SAVED", 1)
    with torch.no_grad():
        yield


def states(rows: int, length: int = 1) -> tuple[Tensor, Tensor]:
    # Heads lie inside of positions, as models make them, and values may be of another size.
    return torch.randn(rows, length, 2, 4).transpose(1, 2), torch.randn(rows, length, 2, 3).transpose(1, 2)


def pair(*, length: int = 40, prompts: Tensor = PROMPTS) -> tuple[DynamicCache, DynamicCache]:
    """Ours and the stock one, after the prompts."""
    ours, stock = DynamicCache(), DynamicCache()
    assert preallocate(ours)
    read = states(int(prompts.max()) + 1, length)
    for cache in (ours, stock):
        cache.update(*read, 0)
    expand(ours, prompts, share=True)
    stock.batch_select_indices(prompts)
    return ours, stock


def whole(cache: DynamicCache) -> tuple[Tensor, Tensor]:
    """What a cache holds, without its noticing that it was read."""
    layer = cache.layers[0]
    return tuple(
        each.kv.full() if isinstance(each, SharedPrefixTensor) else each for each in (layer.keys, layer.values)
    )


def assert_same(ours: DynamicCache, stock: DynamicCache) -> None:
    for mine, other in zip(whole(ours), whole(stock), strict=True):
        assert torch.equal(mine, other)
    assert ours.get_seq_length() == stock.get_seq_length()
    assert ours.layers[0].keys.shape == stock.layers[0].keys.shape
    assert ours.get_mask_sizes(1, 0) == stock.get_mask_sizes(1, 0)


def is_shared(cache: DynamicCache) -> bool:
    return isinstance(cache.layers[0].keys, SharedPrefixTensor)


def test_states_equal_the_stock_layers_through_growth_and_selection() -> None:
    torch.manual_seed(0)
    ours, stock = pair()
    # A prompt leaves, others change places, and rows are repeated.
    changes = {
        0: [0, 1, 2, 3, 4, 5, 6, 7],
        3: [0, 2, 3, 4, 6, 7],
        20: [2, 3, 4, 5],
        90: [2, 3, 0, 1, 3],
        91: [0, 1, 2, 3, 3, 4, 4],
        160: [4, 6],
        180: [0, 1],
    }
    shared = []

    for step in range(200):
        if step in changes:
            for cache in (ours, stock):
                cache.batch_select_indices(torch.tensor(changes[step]))
            assert_same(ours, stock)
        # One token a step, and now and then several.
        new = states(stock.layers[0].keys.size(0), 1 if step % 50 else 5)
        for cache in (ours, stock):
            cache.update(*new, 0)
        assert_same(ours, stock)
        shared.append(is_shared(ours))
    assert type(ours.layers[0]) is SharedPrefixLayer
    # Until each row has a prompt of its own.
    assert shared == [True] * 160 + [False] * 40


@pytest.mark.parametrize(
    "change",
    [
        lambda cache: cache.batch_select_indices(torch.tensor([0, 3, 5])),
        lambda cache: cache.layers[0].reorder_cache(torch.tensor([0, 3, 5])),
        lambda cache: cache.crop(-42),
        lambda cache: cache.batch_repeat_interleave(2),
        lambda cache: cache.update(*(each + 1 for each in whole(cache)), 0) and cache.crop(-1),
    ],
    ids=["one row a prompt", "reordered", "cropped into the prompt", "repeated", "many at once"],
)
def test_other_changes_leave_the_stock_layers_states(change) -> None:
    ours, stock = pair()
    new = states(8, 3)
    for cache in (ours, stock):
        cache.update(*new, 0)
        change(cache)
    rows = stock.layers[0].keys.size(0)
    new = states(rows, 3)
    for cache in (ours, stock):
        cache.update(*new, 0)
    assert_same(ours, stock)
    for cache in (ours, stock):
        cache.batch_select_indices(torch.tensor([rows - 1, 0]))
    assert_same(ours, stock)


def test_a_reset_forgets_everything() -> None:
    ours, _ = pair()
    ours.update(*states(8), 0)
    new = states(5)

    ours.reset()

    assert ours.get_seq_length() == 0
    assert torch.equal(ours.update(*new, 0)[0], new[0])


def test_each_prompt_is_stored_once() -> None:
    ours, _ = pair(length=1000)
    for _ in range(40):
        ours.update(*states(8), 0)
    parts = ours.layers[0].keys.kv

    assert parts.prompts.shape == (3, 2, 1000, 4)
    assert parts.groups.rows == [3, 2, 3]
    assert parts.older.size(2) + parts.filled == 40
    # What is not would be copied at each step.
    assert all(each.is_contiguous() for each in (parts.prompts, parts.older, parts.recent))


def test_writing_in_place_does_not_copy_at_every_step() -> None:
    ours, _ = pair()
    places = set()

    for _ in range(300):
        ours.update(*states(8), 0)
        places.add(ours.layers[0].keys.kv.recent.data_ptr())

    assert len(places) < 20


def test_operations_on_shared_tensors_get_the_full_tensor() -> None:
    ours, stock = pair()
    new = states(8)
    keys, _ = ours.update(*new, 0)
    expected, _ = stock.update(*new, 0)

    assert isinstance(keys, SharedPrefixTensor)
    assert (keys.shape, keys.dtype, keys.device) == (expected.shape, expected.dtype, expected.device)
    assert not keys.is_read
    for read in (lambda each: each.transpose(1, 2), lambda each: each[:, :, 1:], lambda each: torch.cat([each, each])):
        assert type(read(keys)) is Tensor
        assert torch.equal(read(keys), read(expected))
    assert keys.is_read


def test_shared_tensors_refuse_writes() -> None:
    ours, _ = pair()
    keys, _ = ours.update(*states(8), 0)
    before = keys.kv.full()

    for write in (lambda: keys.mul_(0), lambda: keys.copy_(before), lambda: torch.add(before, 1, out=keys)):
        with pytest.raises(RuntimeError, match="clone"):
            write()
    assert torch.equal(keys.kv.full(), before)


@torch.enable_grad()
def test_gradients_flow_into_new_states() -> None:
    ours, stock = pair()
    new = [each.requires_grad_() for each in states(8)]
    gradients = []
    for cache in (ours, stock):
        keys, values = cache.update(*new, 0)
        gradients.append(torch.autograd.grad(keys.square().sum() + values.square().sum(), new))

    assert not is_shared(ours)
    for mine, other in zip(*gradients, strict=True):
        assert torch.equal(mine, other)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda cache: pickle.loads(pickle.dumps(cache))])
def test_copies_are_ordinary_layers(copied) -> None:
    ours, stock = pair()
    ours, stock = copied(ours), copied(stock)
    new = states(8)
    for cache in (ours, stock):
        cache.update(*new, 0)

    assert not is_shared(ours)
    assert_same(ours, stock)


def test_a_layer_read_in_full_is_an_ordinary_one_from_then_on() -> None:
    ours, stock = pair()
    reads = []
    for step in range(4):
        new = states(8)
        stock.update(*new, 0)
        keys, values = ours.update(*new, 0)
        reads.append(isinstance(keys, SharedPrefixTensor))
        if step == 1:
            values.sum()
        assert_same(ours, stock)

    assert reads == [True, True, False, False]


@pytest.mark.parametrize(
    ("least", "prompts", "dtype", "shared"),
    [
        (5 * 40 * 2 * 4, PROMPTS, torch.float32, True),
        (5 * 40 * 2 * 4 + 1, PROMPTS, torch.float32, False),
        (1, torch.tensor([0, 1, 2]), torch.float32, False),
        (1, PROMPTS, torch.bfloat16, False),
    ],
    ids=["enough", "little", "a row each", "half precision"],
)
def test_prompts_are_kept_in_each_row_where_sharing_does_not_pay(
    least: int, prompts: Tensor, dtype: torch.dtype, shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_kv_cache, "MIN_SAVED", least)
    length = 40
    cache = DynamicCache()
    preallocate(cache)
    read = torch.randn(2, int(prompts.max()) + 1, 2, length, 4).to(dtype)
    cache.update(*read, 0)
    expand(cache, prompts, share=True)

    assert is_shared(cache) == shared
    assert torch.equal(whole(cache)[0], read[0][prompts])
    cache.update(*torch.randn(2, len(prompts), 2, 1, 4).to(dtype), 0)
    assert cache.get_seq_length() == length + 1


def test_layers_of_other_kinds_get_their_rows_too() -> None:
    cache = DynamicCache()
    read = states(2, 40)
    cache.update(*read, 0)
    expand(cache, torch.tensor([0, 0, 1, 1]), share=True)

    assert not isinstance(cache.layers[0], PreallocatedLayer)
    assert torch.equal(cache.layers[0].keys, read[0][[0, 0, 1, 1]])
