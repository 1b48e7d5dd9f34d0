"""The one place where mixtures enter a model: the output of its embedding module."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from mot_trl.strategies import BlendingStrategy, Strategy
from mot_trl.strategies.mixture import Columns, blend

Blend = Callable[[Float[Tensor, "N K H"], Float[Tensor, "N K"]], Float[Tensor, "N H"]]


@dataclass
class Feed:
    """What the embedding module is to blend at its next calls.

    Attributes:
        columns: The mixtures; None to feed every token as itself.
        served: How many calls were given mixtures, to tell a model that never looks its tokens up here.
    """

    columns: Columns | None = None
    served: int = 0


def blend_of(strategy: Strategy) -> Blend:
    """How a strategy blends: by its own `blend` where it has one, else by the weighted sum."""
    return strategy.blend if isinstance(strategy, BlendingStrategy) else blend


@contextmanager
def override_embeddings(model: PreTrainedModel, how: Blend = blend) -> Generator[Feed]:
    """Let the model's embedding module blend what the yielded `Feed` says, for generation and replay alike.

    The module's own forward looks all tokens up, so scaled embeddings, adapters and sharded tables work, and the
    gradient flows into whatever the module learns. Where each layer reads the token from a table of its own (Gemma 3n,
    Gemma 4), a mixture is the same blend of that table's rows.

    Args:
        model: A transformers model; its `get_input_embeddings()` is the module.
        how: Turns candidates' embeddings and log-weights into the blend.
    """
    feed = Feed()
    per_layer = model.get_decoder()._modules.get("embed_tokens_per_layer")
    with _serving(model.get_input_embeddings(), feed, how):
        if per_layer is None:
            yield feed
            return
        # Gemma 3n feeds this table token 0 in place of those that it has no row for.
        known = model.config.get_text_config().vocab_size_per_layer_input
        with _serving(per_layer, feed, how, known=known):
            yield feed


@contextmanager
def _serving(module: nn.Module, feed: Feed, how: Blend, *, known: int | None = None) -> Generator[None]:
    lookup: Any = module.forward
    own_forward = module.__dict__.get("forward")

    def forward(input_ids: Int[Tensor, "B S"], *args: Any, **kwargs: Any) -> Float[Tensor, "B S H"]:
        if feed.columns is None or not _fits(input_ids, feed.columns):
            return lookup(input_ids, *args, **kwargs)
        feed.served += 1
        columns = feed.columns
        if known is not None:
            columns = columns._replace(candidate_ids=columns.candidate_ids * (columns.candidate_ids < known))
        return _mix(lambda ids: lookup(ids, *args, **kwargs), input_ids, columns, how)

    module.forward = forward
    try:
        yield
    finally:
        if own_forward is None:
            del module.forward
        else:
            module.forward = own_forward


def _fits(input_ids: Tensor, columns: Columns) -> bool:
    """Whether a call looks up the rows that the mixtures belong to, and not, say, one placeholder token."""
    rows, length = columns.mixture_mask.shape
    return input_ids.dim() == 2 and input_ids.size(0) == rows and input_ids.size(1) >= length


def _mix(
    lookup: Callable[[Tensor], Tensor], input_ids: Int[Tensor, "B S"], columns: Columns, how: Blend
) -> Float[Tensor, "B S H"]:
    rows, length, num_candidates = columns.candidate_ids.shape
    # One lookup of all ids, since each lookup costs a gradient as large as the table.
    ids = torch.cat(
        [input_ids, columns.candidate_ids.reshape(rows, length * num_candidates).to(input_ids.dtype)], dim=1
    )
    embeddings, candidates = lookup(ids).split([input_ids.size(1), length * num_candidates], dim=1)
    log_weights = columns.log_weights.reshape(rows * length, num_candidates)
    blends = how(candidates.reshape(rows * length, num_candidates, -1), log_weights).reshape(rows, length, -1)
    before, own = embeddings.split([input_ids.size(1) - length, length], dim=1)
    return torch.cat([before, torch.where(columns.mixture_mask.unsqueeze(-1), blends.to(own.dtype), own)], dim=1)
