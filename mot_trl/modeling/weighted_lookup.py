"""Look mixtures up in an embedding module, in little more memory than ordinary tokens."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import checkpoint

from mot_trl.strategies.mixture import MixtureInputs

Lookup = Callable[[Int[Tensor, "R C"]], Float[Tensor, "R C H"]]

# Into so many parts the work is cut, at least. What is needed for one part alone is small beside the result.
BLOCKS = 8

SIGNATURE = inspect.signature(F.embedding)


@torch.compiler.disable  # it traces no custom function inside of a mode
def weighted_lookup(
    lookup: Lookup, input_ids: Int[Tensor, "B S"], inputs: MixtureInputs
) -> Float[Tensor, "B S H"] | None:
    """Look up `input_ids`, and at the mixtures among the last `T` columns the weighted sum of the candidates.

    The sum is taken in each table that `lookup` reads, in float32, and never are the `K` embeddings of a mixture in
    memory. It is that of the module's outputs if all that the module does after its tables is linear. None if `lookup`
    did not read its tables with `torch.nn.functional.embedding`, or has options of it that are not supported.
    """
    reading = _ReadWeighted(input_ids, inputs)
    with reading:
        embeddings = lookup(input_ids)
    replaced, others = reading.counts
    return embeddings if replaced and not others else None


def blend_in_blocks(
    lookup: Lookup,
    input_ids: Int[Tensor, "B S"],
    inputs: MixtureInputs,
    how: Callable[[Tensor, Tensor], Tensor],
    *,
    table: int,
) -> Float[Tensor, "B S H"]:
    """Look up `input_ids`, and at the mixtures `how(embeddings, log_weights)` of the outputs for their candidates.

    Right for any module and any blend. It takes some positions at a time, and looks them up again for the gradient.

    Args:
        table: Rows of the table that learns. Each block's gradient is as large as the table, so there are not more
            blocks than the table's size repays.
    """
    rows, length, num_candidates = inputs.candidate_ids.shape

    def positions(ids: Tensor, candidate_ids: Tensor, log_weights: Tensor, mask: Tensor) -> Float[Tensor, "N H"]:
        # Tokens and candidates in one lookup, since the gradient of each lookup is as large as the whole table.
        embeddings = lookup(torch.cat([ids.unsqueeze(-1), candidate_ids.to(ids.dtype)], dim=1))
        own, candidates = embeddings[:, 0], embeddings[:, 1:]
        # A model that is spread over devices may have its table on another than its inputs.
        mask, log_weights = mask.to(own.device), log_weights.to(own.device)
        return torch.where(mask.unsqueeze(-1), how(candidates, log_weights).to(own.dtype), own)

    before, own_ids = input_ids.split([input_ids.size(1) - length, length], dim=1)
    # In generation there is one column, so small that parts of it would cost more time than they save memory.
    size = max(input_ids.numel(), table) // (BLOCKS * num_candidates) if length > 1 else rows
    columns = [own_ids.flatten(), *(each.flatten(0, 1) for each in inputs)]
    blocks = zip(*(column.split(max(1, size)) for column in columns), strict=True)
    blends = [checkpoint(positions, *block, use_reentrant=False, preserve_rng_state=False) for block in blocks]
    return torch.cat([lookup(before), torch.cat(blends).unflatten(0, (rows, length))], dim=1)


class _ReadWeighted(TorchFunctionMode):
    """Replaces `torch.nn.functional.embedding` of `input_ids` by the weighted lookup, in this thread alone.

    Attributes:
        counts: How many such reads were replaced, and how many could not be.
    """

    def __init__(self, input_ids: Int[Tensor, "B S"], inputs: MixtureInputs) -> None:
        super().__init__()
        self.input_ids, self.inputs, self.counts = input_ids, inputs, [0, 0]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Look mixtures up where `func` reads a table."""
        if func is not F.embedding:
            return func(*args, **(kwargs or {}))
        read = SIGNATURE.bind(*args, **(kwargs or {})).arguments
        weight, options = read["weight"], [read.get(name) for name in ("max_norm", "scale_grad_by_freq", "sparse")]
        if read["input"] is not self.input_ids:
            return func(*args, **(kwargs or {}))
        is_supported = type(weight) in (Tensor, nn.Parameter) and weight.is_floating_point() and not any(options)
        self.counts[not is_supported] += 1
        if not is_supported:
            return func(*args, **(kwargs or {}))
        return _WeightedLookup.apply(weight, self.input_ids, *self.inputs, read.get("padding_idx"))


class _WeightedLookup(torch.autograd.Function):
    """`sum_k exp(log_weights[k]) * weight[candidate_ids[k]]` at mixtures, and `weight[ids]` elsewhere."""

    @staticmethod
    def forward(
        ctx: Any,
        weight: Float[Tensor, "V H"],
        ids: Int[Tensor, "B S"],
        candidate_ids: Int[Tensor, "B T K"],
        log_weights: Float[Tensor, "B T K"],
        mixture_mask: Bool[Tensor, "B T"],
        padding_idx: int | None,
    ) -> Float[Tensor, "B S H"]:
        ctx.save_for_backward(ids, candidate_ids, log_weights, mixture_mask)
        ctx.table_size, ctx.padding_idx = len(weight), -1 if padding_idx is None else padding_idx % len(weight)
        embeddings = F.embedding(ids, weight)
        last = embeddings[:, ids.size(1) - mixture_mask.size(1) :]
        for at in _blocks(mixture_mask.size(1), _num_blocks(embeddings, candidate_ids)):
            blends = _weighted_sum(weight, candidate_ids[:, at], log_weights[:, at])
            torch.where(mixture_mask[:, at].unsqueeze(-1), blends, last[:, at], out=last[:, at])
        return embeddings

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (grads,) = grad_outputs
        ids, *inputs = ctx.saved_tensors
        columns, last = ids.size(1), inputs[0].size(1)
        # A large table is more than all there is beside it, and each part's gradient is as large as the table.
        most = _num_blocks(grads, inputs[0])
        parts = min(most, max(1, most * ids.numel() // ctx.table_size))
        grad_weight: Tensor | None = None
        for at in _blocks(last, parts):
            # The first part has the columns before the mixtures, too.
            own = slice(at.start and columns - last + at.start, columns - last + at.stop)
            mixtures = MixtureInputs(*(tensor[:, at] for tensor in inputs))
            part = _grad_table(grads[:, own], ids[:, own], mixtures, size=ctx.table_size, padding_idx=ctx.padding_idx)
            grad_weight = part if grad_weight is None else grad_weight.add_(part)
        return grad_weight, None, None, None, None, None


def _grad_table(
    grads: Float[Tensor, "B S H"], ids: Int[Tensor, "B S"], inputs: MixtureInputs, *, size: int, padding_idx: int
) -> Float[Tensor, "V H"]:
    """Sum the gradients of embeddings, of which the last are mixtures, in a table of `size` rows."""
    # As in `embedding_bag`: each position is a bag of its own token and the candidates, some of which have no weight.
    bags = torch.arange(ids.numel(), dtype=torch.int32, device=ids.device).view_as(ids)
    last = slice(ids.size(1) - inputs.mixture_mask.size(1), None)
    own = torch.ones_like(ids, dtype=grads.dtype)
    own[:, last].masked_fill_(inputs.mixture_mask, 0.0)
    weights = inputs.log_weights.exp().to(grads.dtype) * inputs.mixture_mask.unsqueeze(-1)
    return torch.ops.aten._embedding_bag_dense_backward(
        grads.flatten(0, 1),
        torch.cat([ids.flatten().int(), inputs.candidate_ids.flatten().int()]),
        torch.cat([bags.flatten(), bags[:, last].unsqueeze(-1).expand_as(weights).flatten()]),
        bags,  # sizes of the bags, of use for means alone
        bags,  # their largest members, of use for maxima alone
        size,
        False,
        0,
        torch.cat([own.flatten(), weights.flatten()]),
        padding_idx,
    )


def _weighted_sum(
    weight: Float[Tensor, "V H"], candidate_ids: Int[Tensor, "B T K"], log_weights: Float[Tensor, "B T K"]
) -> Float[Tensor, "B T H"]:
    """`blend` of the rows, as one product of a sparse matrix with the table."""
    ids, weights = candidate_ids.flatten(0, 1), log_weights.flatten(0, 1).exp()
    rounded = weights.to(weight.dtype)
    if weight.dtype in (torch.float16, torch.bfloat16):
        # The sum is in float32, but `embedding_bag` takes weights of the table's dtype: what is lost is added.
        ids, rounded = torch.cat([ids, ids], dim=1), torch.cat([rounded, (weights - rounded).to(weight.dtype)], dim=1)
    return F.embedding_bag(ids, weight, mode="sum", per_sample_weights=rounded).view(*candidate_ids.shape[:2], -1)


def _num_blocks(embeddings: Float[Tensor, "B S H"], candidate_ids: Int[Tensor, "B T K"]) -> int:
    """More than `BLOCKS` where embeddings are so narrow that candidates' identifiers and weights take more memory."""
    width = embeddings.size(2) * embeddings.element_size()
    return BLOCKS * -(-8 * candidate_ids.size(2) // width)


def _blocks(length: int, count: int) -> Iterator[slice]:
    size = max(1, -(-length // count))
    return (slice(start, min(start + size, length)) for start in range(0, length, size))
