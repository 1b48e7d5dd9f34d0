"""A key-value cache with spare room: new positions are written in place instead of copying all the old ones."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache, cache_utils
from transformers.cache_utils import (
    Cache,
    DynamicIndexedLayer,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionAndFullAttentionLayer,
    LinearAttentionAndSlidingWindowAttentionLayer,
    LinearAttentionCacheLayerMixin,
    LinearAttentionLayer,
)


class PreallocatedLayer(DynamicLayer):
    """A `DynamicLayer` whose buffers are longer than what they hold, and grow by a quarter when full.

    `DynamicLayer.update` concatenates, so it copies the whole cache at every step; here the copies add up to a
    constant number of the final size. `keys` and `values` are views on what is filled.
    """

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        self._key_room: Tensor | None = None
        self._value_room: Tensor | None = None

    def update(
        self, key_states: Float[Tensor, "B A T D"], value_states: Float[Tensor, "B A T E"], *args, **kwargs
    ) -> tuple[Float[Tensor, "B A S D"], Float[Tensor, "B A S E"]]:
        """Write the new states behind the old ones and return all of them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        if self.keys is None or self.values is None or self.get_seq_length() == 0:
            # The prompt's own states need no room yet: rows are often selected before the first step.
            self.keys, self.values = key_states, value_states
            return self.keys, self.values
        start, end = self.keys.shape[-2], self.keys.shape[-2] + key_states.shape[-2]
        if self._key_room is None or self._value_room is None or end > self._key_room.shape[-2]:
            self._key_room, self._value_room = _with_room(self.keys, end), _with_room(self.values, end)
        self._key_room[..., start:end, :] = key_states
        self._value_room[..., start:end, :] = value_states
        self.keys, self.values = self._key_room[..., :end, :], self._value_room[..., :end, :]
        return self.keys, self.values

    def batch_select_indices(self, indices: Int[Tensor, " N"]) -> None:
        """Keep or repeat the rows `indices`."""
        super().batch_select_indices(indices)
        self._key_room = self._value_room = None

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat each row `repeats` times."""
        super().batch_repeat_interleave(repeats)
        self._key_room = self._value_room = None

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        """Reorder the rows."""
        super().reorder_cache(beam_idx)
        self._key_room = self._value_room = None

    def reset(self) -> None:
        """Forget everything."""
        # transformers below 5.23 only zeroes what a layer holds, and keeps its length.
        self.keys = self.values = self._key_room = self._value_room = None
        self.is_initialized = False
        super().reset()


def _with_room(states: Float[Tensor, "B A S D"], needed: int) -> Float[Tensor, "B A R D"]:
    rows, heads, length, size = states.shape
    room = states.new_empty(rows, heads, needed + max(64, needed // 4), size)
    room[..., :length, :] = states
    return room


# Layers that keep nothing. transformers below 5.23 leaves them out of the cache, and has no class for them.
DUMMIES: tuple[type, ...] = (cache_utils.DummyLayer,) if hasattr(cache_utils, "DummyLayer") else ()

# Layers whose `reorder_cache` also repeats and drops rows; recurrent ones have no `batch_select_indices`.
SELECTABLE = (
    DynamicLayer,
    DynamicSlidingWindowLayer,
    DynamicIndexedLayer,
    LinearAttentionLayer,
    LinearAttentionAndFullAttentionLayer,
    LinearAttentionAndSlidingWindowAttentionLayer,
    *DUMMIES,
)


def preallocate(cache: Cache | None) -> bool:
    """Give the full-attention layers of a fresh dynamic cache spare room; whether its rows can be selected, too.

    False, with the cache left as it is, for static, quantised, offloaded and user-made caches.
    """
    if type(cache) is not DynamicCache or cache.offloading or not _is_fresh(cache):
        return False
    if any(type(layer) not in SELECTABLE for layer in cache.layers):
        return False
    if cache.layer_class_to_replicate not in (None, DynamicLayer):
        return False
    cache.layers = [PreallocatedLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    if cache.layer_class_to_replicate is not None:
        cache.layer_class_to_replicate = PreallocatedLayer
    return True


def _is_fresh(cache: Cache) -> bool:
    """Whether no layer has read anything; the cache itself cannot say where all its layers are recurrent."""
    return not any(
        any(layer.has_previous_state.values())
        if isinstance(layer, LinearAttentionCacheLayerMixin)
        else layer.is_initialized and not isinstance(layer, DUMMIES)
        for layer in cache.layers
    )
