"""Attention that reads a prompt once for all the completions that have it in common."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import Cache
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from mot_trl.cache import GrowingLayer

# With shorter prompts, or less than two rows for each, taking attention apart costs more than it saves.
LEAST_PROMPT, LEAST_ROWS = 32, 2


class Prompt(NamedTuple):
    """What one layer has read of one prompt."""

    keys: Float[Tensor, "A P D"]
    values: Float[Tensor, "A P E"]


class Cascade:
    """Lets the rows of a batch attend to the prompt they share together, and to what follows each for itself.

    One softmax goes over both parts, so it is the same attention, as in Hydragen (arXiv:2402.05099). Attention of a
    single token is bound by reading keys and values, and a group of eight rows reads an eighth of the prompt's.

    In float32 on a CPU, for models that use transformers' `sdpa`. The cache holds each row's whole past as ever, and
    attention that is given anything but the cache's own keys and values takes its usual way.
    """

    def __init__(self) -> None:
        self._layers: list[Any] = []
        # By layer, one entry for each prompt that still has rows.
        self._prompts: dict[int, list[Prompt]] = {}
        # The prompt of each row, in ascending order, and how many rows each has.
        self._prompt_of_row: Int[Tensor, " N"] = torch.empty(0, dtype=torch.long)
        self._rows: list[int] = []

    @contextmanager
    def active(self) -> Generator[None]:
        """Stand in for `sdpa`, unless something else does already."""
        if ALL_ATTENTION_FUNCTIONS.get("sdpa") is not sdpa_attention_forward:
            yield
            return
        ALL_ATTENTION_FUNCTIONS["sdpa"] = self._attend
        try:
            yield
        finally:
            del ALL_ATTENTION_FUNCTIONS["sdpa"]

    def begin(self, cache: Cache, prompt_of_row: Int[Tensor, " N"]) -> None:
        """Keep what the cache holds, one row a prompt, before its rows are expanded.

        Args:
            cache: What has read the prompts, and nothing else.
            prompt_of_row: The prompt that each row of the batch will go on from, in ascending order.
        """
        self._layers = cache.layers
        for index, layer in enumerate(cache.layers):
            keys, values = getattr(layer, "keys", None), getattr(layer, "values", None)
            if type(layer) is GrowingLayer and keys is not None and values is not None and _is_worth(keys):
                self._prompts[index] = [Prompt(*states) for states in zip(keys, values, strict=True)]
        self._prompt_of_row = prompt_of_row
        self.select(torch.arange(len(prompt_of_row), device=prompt_of_row.device))

    def select(self, indices: Int[Tensor, " M"]) -> None:
        """Keep the rows `indices`, in ascending order; a prompt without rows is forgotten."""
        if not self._prompts:
            return
        prompts, self._prompt_of_row, counts = self._prompt_of_row[indices].unique_consecutive(
            return_inverse=True, return_counts=True
        )
        kept, self._rows = torch.stack([prompts, counts]).tolist()
        self._prompts = {layer: [before[prompt] for prompt in kept] for layer, before in self._prompts.items()}
        if len(indices) < LEAST_ROWS * len(kept):
            self._prompts = {}

    def _attend(
        self,
        module: nn.Module,
        query: Float[Tensor, "N H T D"],
        key: Float[Tensor, "N A S D"],
        value: Float[Tensor, "N A S E"],
        attention_mask: Tensor | None,
        dropout: float = 0.0,
        scaling: float | None = None,
        **kwargs: Any,
    ) -> tuple[Float[Tensor, "N T H E"], None]:
        """What transformers calls for `sdpa`."""
        index = getattr(module, "layer_idx", None)
        prompts = self._prompts.get(index) if isinstance(index, int) else None
        is_plain = dropout == 0 and not any(kwargs.get(name) is not None for name in ("softcap", "position_bias"))
        if prompts is None or query.size(2) != 1 or not is_plain:
            return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **kwargs)
        layer = self._layers[index]
        if key is not layer.keys or value is not layer.values or not _fits(attention_mask, key):
            return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **kwargs)
        rows, heads, _, size = query.shape
        scaled = query.reshape(rows, key.size(1), -1, size) * (size**-0.5 if scaling is None else scaling)
        return self._attention(prompts, scaled, key, value, attention_mask).reshape(rows, 1, heads, -1), None

    def _attention(
        self,
        prompts: list[Prompt],
        query: Float[Tensor, "N A R D"],
        key: Float[Tensor, "N A S D"],
        value: Float[Tensor, "N A S E"],
        mask: Tensor | None,
    ) -> Float[Tensor, "N A R E"]:
        """Attention of `R` heads to each of `A` heads' keys."""
        length = prompts[0].keys.size(1)
        shared = zip(query.split(self._rows), prompts, strict=True)
        scores = torch.cat([_together(rows, prompt.keys.mT) for rows, prompt in shared])
        scores = torch.cat([scores, query @ key[:, :, length:].mT], dim=-1)
        if mask is not None:
            per_head = mask if mask.size(1) == 1 else mask.reshape(len(mask), *query.shape[1:3], -1)
            scores = scores.masked_fill_(~per_head, -torch.inf) if mask.dtype == torch.bool else scores + per_head
        to_prompt, to_own = scores.softmax(dim=-1).split([length, key.size(2) - length], dim=-1)
        shared = zip(to_prompt.split(self._rows), prompts, strict=True)
        return torch.cat([_together(rows, prompt.values) for rows, prompt in shared]) + to_own @ value[:, :, length:]


def _is_worth(keys: Float[Tensor, "U A P D"]) -> bool:
    return keys.device.type == "cpu" and keys.dtype == torch.float32 and keys.size(2) >= LEAST_PROMPT


def _fits(mask: Tensor | None, key: Float[Tensor, "N A S D"]) -> bool:
    """Whether a mask is one of single tokens over all the keys."""
    return mask is None or (mask.dim() == 4 and mask.size(2) == 1 and mask.size(3) == key.size(2))


def _together(rows: Float[Tensor, "G A R X"], states: Float[Tensor, "A X Y"]) -> Float[Tensor, "G A R Y"]:
    """Each row by the same states: one product for each of `A` heads."""
    count, heads, shared, size = rows.shape
    product = torch.bmm(rows.transpose(0, 1).reshape(heads, count * shared, size), states)
    return product.view(heads, count, shared, -1).transpose(0, 1)
