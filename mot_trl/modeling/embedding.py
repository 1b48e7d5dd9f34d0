"""Feed mixtures to a model by overriding the output of its embedding module."""

from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from mot_trl.strategies import BlendingStrategy, Strategy
from mot_trl.strategies.mixture import MixtureInputs, blend

Blend = Callable[[Float[Tensor, "N K H"], Float[Tensor, "N K"]], Float[Tensor, "N H"]]


@dataclass
class EmbeddingOverride:
    """What the embedding module blends at its next calls.

    Attributes:
        inputs: The mixtures; None to feed every token as itself.
        calls: Number of lookups that were given mixtures. 0 reveals a model that embeds its tokens elsewhere.
    """

    inputs: MixtureInputs | None = None
    calls: int = 0


def blend_of(strategy: Strategy) -> Blend:
    """The strategy's own `blend` if it has one, else the weighted sum."""
    return strategy.blend if isinstance(strategy, BlendingStrategy) else blend


@contextmanager
def override_embeddings(model: PreTrainedModel, how: Blend = blend) -> Generator[EmbeddingOverride]:
    """Let the model's embedding module blend the inputs of the yielded override, in generation and replay alike.

    The module's own forward looks all tokens up, so scaled embeddings, adapters and sharded tables work, and the
    gradient flows into whatever the module learns. Where each layer reads the token from its own table (Gemma 3n,
    Gemma 4), a mixture is the same blend of that table's rows.
    """
    override = EmbeddingOverride()
    per_layer = model.get_decoder()._modules.get("embed_tokens_per_layer")
    with ExitStack() as patches:
        patches.enter_context(_patched_forward(model.get_input_embeddings(), override, how))
        if per_layer is not None:
            # Gemma 3n's per-layer table is shorter than its vocabulary and reads token 0 for ids past its end, so the
            # candidates among them must do the same.
            known = model.config.get_text_config().vocab_size_per_layer_input
            patches.enter_context(_patched_forward(per_layer, override, how, known=known))
        yield override


@contextmanager
def _patched_forward(
    module: nn.Module, override: EmbeddingOverride, how: Blend, *, known: int | None = None
) -> Generator[None]:
    lookup: Any = module.forward
    # Set where something else has patched this instance already: it is called, and put back afterwards.
    own_forward = vars(module).get("forward")

    def forward(input_ids: Int[Tensor, "B S"], *args: Any, **kwargs: Any) -> Float[Tensor, "B S H"]:
        inputs = override.inputs
        # Not every lookup is of the mixtures' rows: one may be of, say, the placeholder token of an image.
        if inputs is None or input_ids.dim() != 2 or len(input_ids) != len(inputs.mixture_mask):
            return lookup(input_ids, *args, **kwargs)
        if input_ids.size(1) < inputs.mixture_mask.size(1):
            return lookup(input_ids, *args, **kwargs)
        override.calls += 1
        if known is not None:
            inputs = inputs._replace(candidate_ids=inputs.candidate_ids * (inputs.candidate_ids < known))
        return _embed(lambda ids: lookup(ids, *args, **kwargs), input_ids, inputs, how)

    module.forward = forward
    try:
        yield
    finally:
        del module.forward
        if own_forward is not None:
            module.forward = own_forward


def _embed(
    lookup: Callable[[Tensor], Tensor], input_ids: Int[Tensor, "B S"], inputs: MixtureInputs, how: Blend
) -> Float[Tensor, "B S H"]:
    """Embeddings of `input_ids`, those of the last `T` columns replaced by blends where the mask says so."""
    rows, length, num_candidates = inputs.candidate_ids.shape
    # Tokens and candidates in one lookup, since the gradient of each lookup is as large as the whole table.
    ids = torch.cat([input_ids, inputs.candidate_ids.flatten(1).to(input_ids.dtype)], dim=1)
    embeddings, candidates = lookup(ids).split([input_ids.size(1), length * num_candidates], dim=1)
    log_weights = inputs.log_weights.reshape(rows * length, num_candidates)
    blends = how(candidates.reshape(rows * length, num_candidates, -1), log_weights).reshape(rows, length, -1)
    before, own = embeddings.split([input_ids.size(1) - length, length], dim=1)
    return torch.cat([before, torch.where(inputs.mixture_mask.unsqueeze(-1), blends.to(own.dtype), own)], dim=1)
