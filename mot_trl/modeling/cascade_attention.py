"""Attention that reads a prompt once for all the completions that have it in common."""

from collections.abc import Generator
from contextlib import contextmanager
from threading import Lock
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from mot_trl.modeling.shared_kv_cache import Groups, Parts, States

# Those who decode at this moment.
_USERS: set[object] = set()
_LOCK = Lock()


@contextmanager
def cascading() -> Generator[None]:
    """Stand in for transformers' `sdpa` where keys and values are kept in parts, unless something else does already.

    Rows attend to the prompt they share together, and to what follows each for itself. One softmax goes over both, so
    it is the same attention up to rounding, as in Hydragen (arXiv:2402.05099). A group of eight rows reads an eighth
    of the prompt's keys and values, which is what attention of a single token takes its time for.
    """
    user = object()
    try:
        with _LOCK:
            _USERS.add(user)
            if ALL_ATTENTION_FUNCTIONS.get("sdpa") is sdpa_attention_forward:
                ALL_ATTENTION_FUNCTIONS["sdpa"] = _attention_forward
        yield
    finally:
        with _LOCK:
            _USERS.discard(user)
            if not _USERS and ALL_ATTENTION_FUNCTIONS.get("sdpa") is _attention_forward:
                del ALL_ATTENTION_FUNCTIONS["sdpa"]


def _attention_forward(
    module: nn.Module,
    query: Float[Tensor, "N H T D"],
    key: Float[Tensor, "N A S D"],
    value: Float[Tensor, "N A S E"],
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Float[Tensor, "N T H E"], None]:
    is_plain = dropout == 0 and all(kwargs.get(name) is None for name in ("softcap", "position_bias"))
    is_single = query.size(2) == 1 and (attention_mask is None or attention_mask.shape[2:] == (1, key.size(2)))
    if not (isinstance(key, States) and isinstance(value, States) and is_plain and is_single):
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **kwargs)
    rows, heads, _, size = query.shape
    scaled = query.reshape(rows, key.size(1), -1, size) * (size**-0.5 if scaling is None else scaling)
    return _attend(scaled, key.parts, value.parts, attention_mask).reshape(rows, 1, heads, -1), None


def _attend(
    query: Float[Tensor, "N A R D"], keys: Parts, values: Parts, mask: Tensor | None
) -> Float[Tensor, "N A R E"]:
    """What `R` heads make of each of `A` heads' keys and values."""
    lengths, whole = [part.size(2) for part in (keys.prompts, keys.older, keys.recent)], keys.shape[2]
    to_prompt = _by_prompt(query, keys.prompts.mT, keys.groups)
    scores = torch.cat([to_prompt, query @ keys.older.mT, query @ keys.recent.mT], dim=-1)
    scores[..., whole:] = -torch.inf
    if mask is not None:
        # A mask for each head has those that share keys side by side.
        mask = mask if mask.size(1) == 1 else mask.reshape(len(mask), *query.shape[1:3], whole)
        if mask.dtype == torch.bool:
            scores[..., :whole].masked_fill_(~mask, -torch.inf)
        else:
            scores[..., :whole] += mask
    prompt, older, recent = scores.softmax(dim=-1).split(lengths, dim=-1)
    return _by_prompt(prompt, values.prompts, values.groups) + older @ values.older + recent @ values.recent


def _by_prompt(
    rows: Float[Tensor, "N A R X"], prompts: Float[Tensor, "U A X Y"], groups: Groups
) -> Float[Tensor, "N A R Y"]:
    """The product of each row and its prompt's states, one for all the rows of a prompt."""
    counts, places = groups
    if places is not None:
        even = Groups([max(counts)] * len(counts), None)
        padded = rows.new_zeros(sum(even.rows), *rows.shape[1:]).index_copy_(0, places, rows)
        return _by_prompt(padded, prompts, even)[places]
    if len(set(counts)) > 1:
        each = zip(rows.split(counts), prompts.split(1), counts, strict=True)
        return torch.cat([_by_prompt(group, prompt, Groups([count], None)) for group, prompt, count in each])
    _, heads, shared, size = rows.shape
    stacked = rows.view(len(counts), counts[0], heads, shared, size).transpose(1, 2)
    products = stacked.reshape(len(counts), heads, counts[0] * shared, size) @ prompts
    return products.view(*stacked.shape[:-1], -1).transpose(1, 2).reshape(len(rows), heads, shared, -1)
