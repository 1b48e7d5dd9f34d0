"""A cache layer that holds a prompt's keys and values once for all the rows that share it."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F
from torch.utils._pytree import tree_map
from transformers.cache_utils import Cache

from mot_trl.modeling.cascade_attention import PrefixedKV, PrefixGroups, cascade_attention
from mot_trl.modeling.kv_cache import PreallocatedLayer

# Cascade attention has a cost of its own, as much as reading about as many numbers of the prompts' keys.
MIN_SAVED = 2**17


class SharedPrefixTensor(Tensor):
    """A `PrefixedKV` in place of the ordinary tensor of keys or values.

    Shape, dtype and device are those of the full tensor. `scaled_dot_product_attention` of single tokens works on the
    parts. Any other operation gets the full tensor, built for it, and sets `is_read`. The tensor has no storage and
    cannot be written to.
    """

    kv: PrefixedKV
    is_read: bool

    @staticmethod
    def __new__(cls, kv: PrefixedKV) -> "SharedPrefixTensor":
        """Make a tensor without storage."""
        tensor = Tensor._make_wrapper_subclass(cls, kv.shape, dtype=kv.prompts.dtype, device=kv.prompts.device)
        tensor.kv, tensor.is_read = kv, False
        return tensor

    # Attention is recognized here, before PyTorch breaks it down into the products that `__torch_dispatch__` sees. A
    # name of our own in transformers' table of attentions would not do: DeepSeek-V3.2, GLM-5 and others apply their
    # sparse mask only where the config's name is `eager` or `sdpa`, and would silently attend to everything.
    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Attend to the parts where the call allows it."""
        if func is F.scaled_dot_product_attention:
            output = _attend(*args, **(kwargs or {}))
            if output is not None:
                return output
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(  # ty: ignore[incompatible-method-override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Call `func` with the full tensor."""

        def full(value: Any) -> Any:
            if not isinstance(value, SharedPrefixTensor):
                return value
            value.is_read = True
            return value.kv.full()

        # The full tensor is a copy, so that a write to it would be lost.
        given = {**dict(enumerate(args)), **(kwargs or {})}
        for at, argument in enumerate(func._schema.arguments):
            if argument.is_write and isinstance(given.get(at, given.get(argument.name)), SharedPrefixTensor):
                raise RuntimeError(
                    "Keys and values of shared prompts cannot be changed in place; `clone()` them first."
                )
        return func(*tree_map(full, args), **tree_map(full, kwargs or {}))

    def __deepcopy__(self, memo: Any) -> Tensor:
        """The full tensor."""
        return self.kv.full()

    def __reduce_ex__(self, proto: Any) -> Any:
        """Pickle the full tensor."""
        return self.kv.full().__reduce_ex__(proto)


def _attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    **others: Any,
) -> Tensor | None:
    """`scaled_dot_product_attention` on the parts; None for calls that need the full tensor."""
    if not isinstance(key, SharedPrefixTensor) or not isinstance(value, SharedPrefixTensor):
        return None
    has_own_keys = query.size(1) == key.kv.shape[1] or (enable_gqa and query.size(2) == 1)
    is_usual_mask = attn_mask is None or (attn_mask.dim() == 4 and attn_mask.size(3) == key.kv.shape[2])
    if dropout_p or is_causal or others or not has_own_keys or not is_usual_mask:
        return None
    return cascade_attention(query, key.kv, value.kv, attn_mask, scale)


class SharedPrefixLayer(PreallocatedLayer):
    """A `PreallocatedLayer` whose `keys` and `values` are `SharedPrefixTensor`s until a model reads the full tensor.

    The first update after such a read keeps the full tensor, and the layer is an ordinary one from then on: a model
    that reads it at one step does so at every step, and would have it built each time.
    """

    def __init__(self, keys: Float[Tensor, "U A P D"], values: Float[Tensor, "U A P E"]) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self.keys, self.values = SharedPrefixTensor(PrefixedKV.of(keys)), SharedPrefixTensor(PrefixedKV.of(values))
        self._prompt_of_row = torch.arange(len(keys), device=keys.device)

    def update(
        self, key_states: Float[Tensor, "N A T D"], value_states: Float[Tensor, "N A T E"], *args, **kwargs
    ) -> tuple[Float[Tensor, "N A S D"], Float[Tensor, "N A S E"]]:
        """Write the new states behind the old ones and return all of them."""
        keys, values = self.keys, self.values
        are_shared = isinstance(keys, SharedPrefixTensor) and isinstance(values, SharedPrefixTensor)
        # Writing into the parts would lose the gradient of the new states.
        if not are_shared or keys.is_read or values.is_read or torch.is_grad_enabled():
            return super().update(key_states, value_states, *args, **kwargs)
        self.keys = SharedPrefixTensor(keys.kv.append(key_states))
        self.values = SharedPrefixTensor(values.kv.append(value_states))
        return self.keys, self.values

    def batch_select_indices(self, indices: Int[Tensor, " M"]) -> None:
        """Keep or repeat the rows `indices`."""
        keys, values = self.keys, self.values
        if isinstance(keys, SharedPrefixTensor) and isinstance(values, SharedPrefixTensor):
            prompts, self._prompt_of_row, counts = self._prompt_of_row[indices].unique_consecutive(
                return_inverse=True, return_counts=True
            )
            # Sharing pays as long as enough rows read a prompt that another row has.
            if (len(indices) - len(prompts)) * keys.kv.prompts[0].numel() >= MIN_SAVED:
                chosen = indices, prompts.tolist(), PrefixGroups.of(self._prompt_of_row, counts)
                self.keys, self.values = (SharedPrefixTensor(each.kv.select(*chosen)) for each in (keys, values))
                return
        super().batch_select_indices(indices)

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        """Reorder the rows."""
        self.batch_select_indices(beam_idx)


def expand(cache: Cache, prompt_of_row: Int[Tensor, " N"], *, share: bool) -> None:
    """Give a cache that has read `U` prompts, and nothing else, a row for each index in `prompt_of_row`.

    With `share`, preallocated layers keep each prompt once where that pays: in float32 on a CPU, where attention of
    single tokens is bound by reading keys and values.
    """
    for at, layer in enumerate(cache.layers if share else ()):
        if type(layer) is PreallocatedLayer and layer.keys is not None and layer.values is not None:
            states = layer.keys, layer.values
            if all(each.device.type == "cpu" and each.dtype == torch.float32 for each in states):
                cache.layers[at] = SharedPrefixLayer(*states)
    cache.reorder_cache(prompt_of_row)  # ty: ignore[invalid-argument-type]
