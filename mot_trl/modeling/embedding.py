"""Feed mixtures to a model by overriding the output of its embedding module."""

from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from mot_trl.modeling.patching import Calls, MethodPatch
from mot_trl.modeling.weighted_lookup import blend_in_blocks, weighted_lookup
from mot_trl.strategies import BlendingStrategy, Strategy
from mot_trl.strategies.gated import Gated
from mot_trl.strategies.mixture import MixtureInputs, blend

Blend = Callable[[Float[Tensor, "N K H"], Float[Tensor, "N K"]], Float[Tensor, "N H"]]


@dataclass
class EmbeddingOverride:
    """What the embedding module blends at its next calls.

    Attributes:
        inputs: The mixtures; None to feed every token as itself.
        calls: Number of lookups that were given mixtures. 0 reveals a model that embeds its tokens elsewhere.
        how: How embeddings are blended.
        modules: The embedding modules. The value is the length of a table that is shorter than the vocabulary, and
            reads token 0 for ids past its end; else None.
    """

    inputs: MixtureInputs | None = None
    calls: int = 0
    how: Blend = blend
    modules: dict[nn.Module, int | None] = field(default_factory=dict)


PARTS_OF_ADAPTERS = (nn.ModuleDict, nn.ParameterDict, nn.Identity, nn.Dropout)

_OVERRIDES: Calls[EmbeddingOverride] = Calls("embedding overrides")


def blend_of(strategy: Strategy) -> Blend:
    """The strategy's own `blend` if it has one, else the weighted sum; of a gate, that of the strategy it wraps."""
    strategy = strategy.wrapped if isinstance(strategy, Gated) else strategy
    return strategy.blend if isinstance(strategy, BlendingStrategy) else blend


@contextmanager
def override_embeddings(model: PreTrainedModel, how: Blend = blend) -> Generator[EmbeddingOverride]:
    """Let the model's embedding module blend the inputs of the yielded override, in generation and replay alike.

    The module's own forward looks all tokens up, so scaled embeddings, adapters and sharded tables work, and the
    gradient flows into whatever the module learns. Where each layer reads the token from its own table (Gemma 3n,
    Gemma 4), a mixture is the same blend of that table's rows.

    Only calls from the same thread (and the same asyncio task) see the override; of several, the one entered last.
    """
    override = EmbeddingOverride(how=how, modules={model.get_input_embeddings(): None})
    per_layer = model.get_decoder()._modules.get("embed_tokens_per_layer")
    if per_layer is not None:
        # Gemma 3n's per-layer table is shorter than its vocabulary, so the candidates past its end must become token 0
        # as well.
        override.modules[per_layer] = model.config.get_text_config().vocab_size_per_layer_input
    with ExitStack() as patches:
        for module in override.modules:
            patches.enter_context(_Lookup.on(module))
        yield patches.enter_context(_OVERRIDES.enter(override))


class _Lookup(MethodPatch):
    """The forward of an embedding module, which blends where the caller has opened an override."""

    def __call__(self, input_ids: Int[Tensor, "B S"], *args: Any, **kwargs: Any) -> Float[Tensor, "B S H"]:
        override = next((each for each in _OVERRIDES.innermost() if self.module in each.modules), None)
        inputs = None if override is None else override.inputs
        # Not every lookup is of the mixtures' rows: one may be of, say, the placeholder token of an image.
        if override is None or inputs is None or input_ids.dim() != 2 or len(input_ids) != len(inputs.mixture_mask):
            return self.own(input_ids, *args, **kwargs)
        if input_ids.size(1) < inputs.mixture_mask.size(1):
            return self.own(input_ids, *args, **kwargs)
        override.calls += 1
        known = override.modules[self.module]
        if known is not None:
            inputs = inputs._replace(candidate_ids=inputs.candidate_ids * (inputs.candidate_ids < known))
        lookup = lambda ids: self.own(ids, *args, **kwargs)  # noqa: E731
        # Hooks of accelerate, which spread a model over devices, call the module's own forward.
        is_own = self.replaced is None or hasattr(self.module, "_hf_hook")
        if override.how is blend and is_own and _is_linear(self.module):
            embeddings = weighted_lookup(lookup, input_ids, inputs)
            if embeddings is not None:
                return embeddings
        return blend_in_blocks(lookup, input_ids, inputs, override.how, table=_table_size(self.module))


def _is_linear(module: nn.Module) -> bool:
    """Whether the module is linear in its one-hot input, so that the blend of tokens may be taken inside of it.

    True of tables, of those that are multiplied by a number afterwards (Gemma), and of PEFT's adapters on them. It is
    unknown of others, such as quantized tables and those with a norm (Inkling).
    """
    is_patched = any("forward" in vars(part) for part in module.modules() if part is not module)
    return not is_patched and all(_is_linear_part(part) for part in module.modules())


def _is_linear_part(part: nn.Module) -> bool:
    if isinstance(part, nn.Embedding):
        return type(part).forward is nn.Embedding.forward or hasattr(part, "embed_scale")
    return type(part).__module__.startswith("peft.") or type(part) in PARTS_OF_ADAPTERS


def _table_size(module: nn.Module) -> int:
    """Rows of the largest table that learns."""
    return max((max(weight.shape, default=0) for weight in module.parameters() if weight.requires_grad), default=0)
