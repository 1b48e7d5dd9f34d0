"""A cache layer that keeps a prompt once for all the rows that go on from it."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils._pytree import tree_map
from transformers.cache_utils import Cache

from mot_trl.modeling.kv_cache import PreallocatedLayer

# Taking attention apart costs as much as reading about as many numbers of the prompts' keys.
LEAST_SAVED = 2**17

# Few enough positions to write each step's into, and to read whole.
LEAST_RECENT = 16


class Groups(NamedTuple):
    """Which rows share a prompt.

    Attributes:
        rows: How many do, for each prompt, one after another.
        places: Where the rows stand if each prompt is given as many as the largest group has; None where groups are of
            one size, or so far from it that there would be more padding than rows.
    """

    rows: list[int]
    places: Int[Tensor, " N"] | None

    @classmethod
    def of(cls, prompt_of_row: Int[Tensor, " N"], rows: Int[Tensor, " U"]) -> "Groups":
        """The groups of rows whose prompts are 0, 1, and so on."""
        largest, count = int(rows.max()), len(prompt_of_row)
        if largest * len(rows) == count or largest * len(rows) > 2 * count:
            return cls(rows.tolist(), None)
        starts = rows.cumsum(dim=0) - rows
        in_group = torch.arange(count, device=rows.device) - starts[prompt_of_row]
        return cls(rows.tolist(), prompt_of_row * largest + in_group)


class Parts(NamedTuple):
    """Keys or values of `N` rows, without what several have in common being there twice.

    Attributes:
        prompts: Those of the prompts, in the order of the rows that go on from them.
        groups: Which rows those are.
        older: What follows the prompt, packed: strided reading is half as fast.
        recent: What follows that, and zeros.
        filled: How many positions of `recent` are in use.
    """

    prompts: Float[Tensor, "U A P D"]
    groups: Groups
    older: Float[Tensor, "N A O D"]
    recent: Float[Tensor, "N A R D"]
    filled: int

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """That of the whole."""
        rows, heads, older, size = self.older.shape
        return rows, heads, self.prompts.size(2) + older + self.filled, size

    def whole(self) -> Float[Tensor, "N A S D"]:
        """Everything in every row."""
        prompts = self.prompts.repeat_interleave(torch.tensor(self.groups.rows, device=self.prompts.device), dim=0)
        return torch.cat([prompts, self.older, self.recent[:, :, : self.filled]], dim=2)

    def append(self, states: Float[Tensor, "N A T D"]) -> "Parts":
        """With `states` behind; written in place where there is room."""
        older, recent, start, end = self.older, self.recent, self.filled, self.filled + states.size(2)
        if end > recent.size(2):
            older = torch.cat([older, recent[:, :, :start]], dim=2)
            # What is copied to make room and what is read of empty room are least together near this size.
            room = max(LEAST_RECENT, 2 * math.isqrt(older.size(2)), states.size(2))
            recent = states.new_zeros(*states.shape[:2], room, states.size(3))
            start, end = 0, states.size(2)
        recent.narrow(2, start, end - start).copy_(states)
        return Parts(self.prompts, self.groups, older, recent, end)

    def select(self, indices: Int[Tensor, " M"], prompts: list[int], groups: Groups) -> "Parts":
        """The rows `indices`, in `groups` that go on from the `prompts`."""
        kept = self.prompts if prompts == list(range(len(self.prompts))) else self.prompts[prompts]
        return Parts(kept, groups, self.older[indices], self.recent[indices], self.filled)


class States(Tensor):
    """Parts that pass for the tensor they are parts of.

    Shape, dtype and device are the whole's. Operations read the whole, put together for the purpose; they cannot write
    to it, nor has it an address.
    """

    parts: Parts
    is_read: bool

    @staticmethod
    def __new__(cls, parts: Parts) -> "States":
        """An empty shell."""
        like = parts.prompts
        states = Tensor._make_wrapper_subclass(cls, parts.shape, dtype=like.dtype, device=like.device)
        states.parts, states.is_read = parts, False
        return states

    __torch_function__ = torch._C._disabled_torch_function_impl  # ty: ignore[incompatible-method-override]

    @classmethod
    def __torch_dispatch__(  # ty: ignore[incompatible-method-override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Call `func` with the whole."""

        def whole(value: Any) -> Any:
            if not isinstance(value, States):
                return value
            value.is_read = True
            return value.parts.whole()

        if any(isinstance(written, States) for written in _written(func, args, kwargs or {})):
            raise RuntimeError("Keys and values of shared prompts cannot be changed in place; `clone()` them first.")
        return func(*tree_map(whole, args), **tree_map(whole, kwargs or {}))

    def __deepcopy__(self, memo: Any) -> Tensor:
        """The whole."""
        return self.parts.whole()

    def __reduce_ex__(self, proto: Any) -> Any:
        """Pickle the whole."""
        return self.parts.whole().__reduce_ex__(proto)


def _written(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[Any]:
    """The arguments that an operation changes."""
    for position, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            yield args[position] if position < len(args) else kwargs.get(argument.name)


class SharedLayer(PreallocatedLayer):
    """A `PreallocatedLayer` whose `keys` and `values` are `States` until a model reads the full tensor.

    For `cascade_attention`, which attends to the parts. Should a model read the whole, the layer keeps
    it so from then on, and is an ordinary one.

    Args:
        keys: What has been read of the prompts, one row each.
        values: The same.
    """

    def __init__(self, keys: Float[Tensor, "U A P D"], values: Float[Tensor, "U A P E"]) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self.keys, self.values = (
            States(Parts(prompts, Groups([1] * len(prompts), None), prompts[:, :, :0], prompts[:, :, :0], 0))
            for prompts in (keys.contiguous(), values.contiguous())  # which they are not as models make them
        )
        self._prompt_of_row = torch.arange(len(keys), device=keys.device)

    def update(
        self, key_states: Float[Tensor, "N A T D"], value_states: Float[Tensor, "N A T E"], *args, **kwargs
    ) -> tuple[Float[Tensor, "N A S D"], Float[Tensor, "N A S E"]]:
        """Write the new states behind the old ones and return all of them."""
        keys, values = self.keys, self.values
        is_shared = isinstance(keys, States) and isinstance(values, States) and not (keys.is_read or values.is_read)
        if not is_shared or torch.is_grad_enabled():  # parts would lose the gradient
            return super().update(key_states, value_states, *args, **kwargs)
        self.keys, self.values = States(keys.parts.append(key_states)), States(values.parts.append(value_states))
        return self.keys, self.values

    def batch_select_indices(self, indices: Int[Tensor, " M"]) -> None:
        """Keep or repeat the rows `indices`."""
        keys, values = self.keys, self.values
        if isinstance(keys, States) and isinstance(values, States):
            prompts, self._prompt_of_row, counts = self._prompt_of_row[indices].unique_consecutive(
                return_inverse=True, return_counts=True
            )
            if (len(indices) - len(prompts)) * keys.parts.prompts[0].numel() >= LEAST_SAVED:
                chosen = indices, prompts.tolist(), Groups.of(self._prompt_of_row, counts)
                self.keys, self.values = (States(states.parts.select(*chosen)) for states in (keys, values))
                return
        super().batch_select_indices(indices)

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        """Reorder the rows."""
        self.batch_select_indices(beam_idx)


def expand(cache: Cache, prompt_of_row: Int[Tensor, " N"], *, share: bool) -> None:
    """Give a cache that has read `U` prompts, and nothing else, a row for each of `prompt_of_row`.

    Args:
        cache: The cache.
        prompt_of_row: The prompt that each row goes on from.
        share: Let growing layers keep each prompt once where that pays: in float32 on a CPU, where attention of single
            tokens is bound by reading keys and values.
    """
    if share:
        cache.layers = [_shared(layer) for layer in cache.layers]
    cache.reorder_cache(prompt_of_row)  # ty: ignore[invalid-argument-type]


def _shared(layer: Any) -> Any:
    if type(layer) is not PreallocatedLayer or layer.keys is None or layer.values is None:
        return layer
    states = layer.keys, layer.values
    pays = all(each.device.type == "cpu" and each.dtype == torch.float32 for each in states)
    return SharedLayer(*states) if pays else layer
