"""A key-value cache with preallocated room, in which new positions are written in place."""

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
    """A `DynamicLayer` whose buffers are longer than their contents, and grow by a quarter when full.

    `DynamicLayer.update` concatenates, so it copies the whole cache at every step. Here all copies together are a
    small multiple of the final size. `keys` and `values` are views of the filled part.
    """

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        # None until the first step, and whenever rows have changed: `super` has then put new tensors into `keys` and
        # `values`, and buffers of the old rows must not be written to.
        self._key_room: Tensor | None = None
        self._value_room: Tensor | None = None

    def update(
        self, key_states: Float[Tensor, "B A T D"], value_states: Float[Tensor, "B A T E"], *args, **kwargs
    ) -> tuple[Float[Tensor, "B A S D"], Float[Tensor, "B A S E"]]:
        """Write the new states behind the old ones and return all of them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        if self.keys is None or self.values is None or self.get_seq_length() == 0:
            # No room for the prompt alone: its rows are repeated for each completion before the first step.
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
    # Growing by a factor keeps the number of copies logarithmic; 64 spare positions spare short caches most of them.
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
    """Preallocate the full-attention layers of a fresh dynamic cache, in place.

    Returns:
        Whether the cache's rows can be selected and repeated. False, with the cache left as it is, for static,
        quantized, offloaded and user-made caches.
    """
    if type(cache) is not DynamicCache or cache.offloading or not _is_fresh(cache):
        return False
    # By type and not `isinstance`: a subclass may keep state that the selection of rows does not know.
    kinds = {type(layer) for layer in cache.layers}
    if not kinds.issubset(SELECTABLE) or cache.layer_class_to_replicate not in (None, DynamicLayer):
        return False
    cache.layers = [PreallocatedLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    # A cache made without a config appends layers of this class as the model asks for them.
    if cache.layer_class_to_replicate is not None:
        cache.layer_class_to_replicate = PreallocatedLayer
    return True


def _is_fresh(cache: Cache) -> bool:
    """Whether no layer has read anything. The cache's own length is no answer where all layers are recurrent."""
    return not any(
        any(layer.has_previous_state.values())
        if isinstance(layer, LinearAttentionCacheLayerMixin)
        else layer.is_initialized and not isinstance(layer, DUMMIES)
        for layer in cache.layers
    )
