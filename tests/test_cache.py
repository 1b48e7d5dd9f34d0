"""The growing cache holds what the stock cache holds."""

import torch
from conftest import make_model
from transformers import DynamicCache, StaticCache

from mot_trl.cache import GrowingLayer, make_growing


def test_states_are_those_of_the_stock_layer_through_growth_and_selection() -> None:
    torch.manual_seed(0)
    cache, stock = DynamicCache(), DynamicCache()
    assert make_growing(cache)

    for step in range(200):
        keys, values = torch.randn(2, 3, 2, 5 if step == 0 else 1, 4)
        if step > 100:
            keys, values = keys[:2], values[:2]
        ours = cache.update(keys, values, 0)
        theirs = stock.update(keys, values, 0)
        assert torch.equal(ours[0], theirs[0])
        assert torch.equal(ours[1], theirs[1])
        if step == 100:
            for each in (cache, stock):
                each.batch_select_indices(torch.tensor([2, 0]))

    assert isinstance(cache.layers[0], GrowingLayer)
    assert cache.get_seq_length() == stock.get_seq_length() == 204


def test_writing_in_place_does_not_copy_at_every_step() -> None:
    cache = DynamicCache()
    make_growing(cache)
    places = set()

    for _ in range(300):
        keys, _ = cache.update(torch.randn(1, 1, 1, 2), torch.randn(1, 1, 1, 2), 0)
        places.add(keys.data_ptr())

    assert len(places) < 10


def test_layers_of_other_kinds_are_left_as_they_are() -> None:
    sliding = make_model("mistral")
    cache = DynamicCache(config=sliding.config)
    before = [type(layer) for layer in cache.layers]

    assert make_growing(cache)
    assert [type(layer) for layer in cache.layers] == before
    assert not make_growing(StaticCache(config=sliding.config, max_cache_len=8))
    assert not make_growing(None)
