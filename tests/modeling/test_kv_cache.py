"""The preallocated cache holds the states of the stock cache."""

import torch
from conftest import make_model
from transformers import DynamicCache, StaticCache
from transformers.cache_utils import StaticLayer

from mot_trl.modeling.kv_cache import PreallocatedLayer, preallocate


def test_states_equal_the_stock_layers_through_growth_and_selection() -> None:
    torch.manual_seed(0)
    cache, stock = DynamicCache(), DynamicCache()
    assert preallocate(cache)
    changes = {
        50: lambda each: each.batch_repeat_interleave(2),
        100: lambda each: each.batch_select_indices(torch.tensor([4, 0, 2])),
        150: lambda each: each.layers[0].reorder_cache(torch.tensor([2, 0])),
    }
    rows = {50: 6, 100: 3, 150: 2}

    batch = 3
    for step in range(250):
        keys, values = torch.randn(2, batch, 2, 5 if step == 0 else 1, 4)
        ours = cache.update(keys, values, 0)
        theirs = stock.update(keys, values, 0)
        assert torch.equal(ours[0], theirs[0])
        assert torch.equal(ours[1], theirs[1])
        batch = rows.get(step, batch)
        for each in (cache, stock):
            changes.get(step, lambda each: None)(each)

    assert isinstance(cache.layers[0], PreallocatedLayer)
    assert cache.get_seq_length() == stock.get_seq_length()


def test_a_reset_forgets_everything() -> None:
    cache = DynamicCache()
    preallocate(cache)
    for _ in range(3):
        cache.update(torch.randn(1, 1, 2, 2), torch.randn(1, 1, 2, 2), 0)
    new = torch.randn(2, 1, 1, 1, 2)

    cache.reset()

    assert cache.get_seq_length() == 0
    assert torch.equal(cache.update(*new, 0)[0], new[0])


def test_writing_in_place_does_not_copy_at_every_step() -> None:
    cache = DynamicCache()
    preallocate(cache)
    places = set()

    for _ in range(300):
        keys, _ = cache.update(torch.randn(1, 1, 1, 2), torch.randn(1, 1, 1, 2), 0)
        places.add(keys.data_ptr())

    assert len(places) < 10


def test_layers_of_other_kinds_are_left_as_they_are() -> None:
    sliding = make_model("mistral")
    cache = DynamicCache(config=sliding.config)
    before = [type(layer) for layer in cache.layers]

    assert preallocate(cache)
    assert [type(layer) for layer in cache.layers] == before
    assert not preallocate(StaticCache(config=sliding.config, max_cache_len=8))
    assert not preallocate(None)


def test_caches_that_are_offloaded_in_use_or_user_made_are_left_alone() -> None:
    class Own(DynamicCache):
        pass

    used, offloaded, static, to_be_static = (DynamicCache() for _ in range(4))
    used.update(torch.zeros(1, 1, 1, 2), torch.zeros(1, 1, 1, 2), 0)
    offloaded.offloading = True
    static.layers = [StaticLayer(max_cache_len=8)]
    to_be_static.layer_class_to_replicate = StaticLayer

    assert not any(preallocate(cache) for cache in (Own(), used, offloaded, static, to_be_static))
    assert not isinstance(used.layers[0], PreallocatedLayer)
