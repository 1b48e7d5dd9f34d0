"""Attention over keys and values that rows with a common prompt share, computed once per prompt."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

# Few enough positions to write each step's into, and to read whole.
MIN_RECENT = 16


class PrefixGroups(NamedTuple):
    """The number of rows of each prompt, which follow one another.

    `places` is each row's index once every group is padded to the size of the largest. None where groups are of one
    size, or so uneven that there would be more padding than rows.
    """

    rows: list[int]
    places: Int[Tensor, " N"] | None

    @classmethod
    def of(cls, prompt_of_row: Int[Tensor, " N"], rows: Int[Tensor, " U"]) -> "PrefixGroups":
        """Groups of rows whose prompts are numbered 0, 1, and so on."""
        largest, count = int(rows.max()), len(prompt_of_row)
        if largest * len(rows) == count or largest * len(rows) > 2 * count:
            return cls(rows.tolist(), None)
        starts = rows.cumsum(dim=0) - rows
        in_group = torch.arange(count, device=rows.device) - starts[prompt_of_row]
        return cls(rows.tolist(), prompt_of_row * largest + in_group)


class PrefixedKV(NamedTuple):
    """Keys or values of `N` rows, in three parts: prompt (one copy for each group of rows) | older | recent.

    New positions are written into `recent`, in place. When it is full, it is packed behind `older` and a longer one
    begins, so that all steps together copy little, and attention reads memory that is nearly all packed.

    Attributes:
        prompts: Those of the prompts, in the order of their `groups` of rows.
        older: What follows the prompt, packed, since reading with a stride takes twice as long.
        recent: What follows that, then zeros.
        filled: Number of positions of `recent` in use.
    """

    prompts: Float[Tensor, "U A P D"]
    groups: PrefixGroups
    older: Float[Tensor, "N A O D"]
    recent: Float[Tensor, "N A R D"]
    filled: int

    @classmethod
    def of(cls, prompts: Float[Tensor, "U A P D"]) -> "PrefixedKV":
        """Prompts alone, one row each."""
        prompts = prompts.contiguous()  # models make heads inside of positions
        return cls(prompts, PrefixGroups([1] * len(prompts), None), prompts[:, :, :0], prompts[:, :, :0], 0)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of the full tensor."""
        rows, heads, older, size = self.older.shape
        return rows, heads, self.prompts.size(2) + older + self.filled, size

    def full(self) -> Float[Tensor, "N A S D"]:
        """The ordinary tensor, with every row's own copy of its prompt."""
        prompts = self.prompts.repeat_interleave(torch.tensor(self.groups.rows, device=self.prompts.device), dim=0)
        return torch.cat([prompts, self.older, self.recent[:, :, : self.filled]], dim=2)

    def append(self, states: Float[Tensor, "N A T D"]) -> "PrefixedKV":
        """Add the positions `states`; written in place where there is room."""
        older, recent, start, end = self.older, self.recent, self.filled, self.filled + states.size(2)
        if end > recent.size(2):
            older = torch.cat([older, recent[:, :, :start]], dim=2)
            # With room for r of s positions, packing copies s / r positions a step and attention reads r / 2 that are
            # still empty: the sum is least near r = sqrt(2 s).
            room = max(MIN_RECENT, 2 * math.isqrt(older.size(2)), states.size(2))
            recent = states.new_zeros(*states.shape[:2], room, states.size(3))
            start, end = 0, states.size(2)
        recent.narrow(2, start, end - start).copy_(states)
        return PrefixedKV(self.prompts, self.groups, older, recent, end)

    def select(self, indices: Int[Tensor, " M"], prompts: list[int], groups: PrefixGroups) -> "PrefixedKV":
        """The rows `indices`, in `groups` of the given `prompts`."""
        kept = self.prompts if prompts == list(range(len(self.prompts))) else self.prompts[prompts]
        return PrefixedKV(kept, groups, self.older[indices], self.recent[indices], self.filled)


def cascade_attention(
    query: Float[Tensor, "N H T D"],
    keys: PrefixedKV,
    values: PrefixedKV,
    mask: Tensor | None = None,
    scale: float | None = None,
) -> Float[Tensor, "N H T E"]:
    """Compute `scaled_dot_product_attention` of one token (`T = 1`), or of as many heads as keys have.

    Rows attend to the prompt they share together, and to what follows each for itself. One softmax spans both, so the
    result is the same up to rounding, as in Hydragen (arXiv:2402.05099). A group of eight rows reads an eighth of the
    prompt's keys and values, and reading those is what attention of a single token spends its time on.

    Args:
        keys: Keys, of `A` heads that `H / A` heads of queries share.
        mask: Boolean (True attends) or added to the scores; broadcasts to `(N, H, T, S)`.
        scale: Factor of the scores; None for `1 / sqrt(D)`.
    """
    rows, heads, tokens, size = query.shape
    key_heads, length = keys.shape[1:3]
    # Heads that share keys become rows of one product: (N, A, R, D).
    query = query.reshape(rows, key_heads, -1, size) * (size**-0.5 if scale is None else scale)
    to_prompt = _multiply_by_prompt(query, keys.prompts.mT, keys.groups)
    parts = [to_prompt, query @ keys.older.mT, query @ keys.recent.mT]
    scores = torch.cat(parts, dim=-1)
    scores[..., length:] = -torch.inf  # the empty end of `recent`
    if mask is not None:
        if mask.size(1) == heads != key_heads:
            mask = mask.reshape(len(mask), key_heads, -1, length)
        if mask.dtype == torch.bool:
            scores[..., :length].masked_fill_(~mask, -torch.inf)
        else:
            scores[..., :length] += mask
    prompt, older, recent = scores.softmax(dim=-1).split([part.size(-1) for part in parts], dim=-1)
    blended = _multiply_by_prompt(prompt, values.prompts, values.groups)
    return (blended + older @ values.older + recent @ values.recent).reshape(rows, heads, tokens, -1)


def _multiply_by_prompt(
    rows: Float[Tensor, "N A R X"], prompts: Float[Tensor, "U A X Y"], groups: PrefixGroups
) -> Float[Tensor, "N A R Y"]:
    """`rows[n] @ prompts[u]` for the prompt `u` of each row `n`, in one product for all the rows of a prompt."""
    counts, places = groups
    # Groups of nearly one size: pad with empty rows, since one batched product is faster than several.
    if places is not None:
        even = PrefixGroups([max(counts)] * len(counts), None)
        padded = rows.new_zeros(sum(even.rows), *rows.shape[1:]).index_copy_(0, places, rows)
        return _multiply_by_prompt(padded, prompts, even)[places]
    # Very uneven groups: one product each.
    if len(set(counts)) > 1:
        pairs = zip(rows.split(counts), prompts.split(1), strict=True)
        return torch.cat([_multiply_by_prompt(each, own, PrefixGroups([len(each)], None)) for each, own in pairs])
    # Groups of one size: the rows of a group become rows of one matrix, heads being independent products.
    _, heads, shared, size = rows.shape
    stacked = rows.view(len(counts), counts[0], heads, shared, size).transpose(1, 2)
    products = stacked.reshape(len(counts), heads, counts[0] * shared, size) @ prompts
    return products.view(*stacked.shape[:-1], -1).transpose(1, 2).reshape(len(rows), heads, shared, -1)
