"""The training pass with each distinct prompt of a batch read once, gradient included."""

import inspect
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import Cache, DynamicLayer, DynamicSlidingWindowLayer
from transformers.modeling_layers import GradientCheckpointingLayer

from mot_trl.modeling.distributed import is_sharded

# A model that is given more (images, a request for router logits) reads each row by itself.
TEXT_INPUTS = {"input_ids", "attention_mask", "labels", "fused_lm_head"}


class PromptLayer(DynamicLayer):
    """Keeps the keys and values of the prompts it is given; the same again when a checkpoint is recomputed."""

    def update(
        self, key_states: Float[Tensor, "U A T D"], value_states: Float[Tensor, "U A T E"], *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Keep the states, and give them back."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values = key_states, value_states
        return key_states, value_states


class PromptReader(DynamicLayer):
    """Gives each of `B` rows the keys and values of its prompt, and keeps nothing of the rows' own."""

    def __init__(self, prompts: PromptLayer, prompt_of_row: Int[Tensor, " B"]) -> None:
        super().__init__()
        self.is_initialized = True
        self.keys, self.values, self.prompt_of_row = prompts.keys, prompts.values, prompt_of_row

    def update(
        self, key_states: Float[Tensor, "B A T D"], value_states: Float[Tensor, "B A T E"], *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """The prompt's states and the row's own behind them."""
        if self.keys is None or self.values is None:
            return key_states, value_states
        rows = self.prompt_of_row
        return torch.cat([self.keys[rows], key_states], dim=-2), torch.cat([self.values[rows], value_states], dim=-2)


class Shared(NamedTuple):
    """A batch whose prompts are read once.

    Attributes:
        prompt_ids: The distinct prompts, less their last tokens.
        prompt_mask: Their attention mask.
        prompt_of_row: Which of them each row begins with.
    """

    prompt_ids: Int[Tensor, "U Q"]
    prompt_mask: Int[Tensor, "U Q"]
    prompt_of_row: Int[Tensor, " B"]


def is_text(inputs: dict[str, Any]) -> bool:
    """Whether a batch holds what TRL passes for text, and nothing else."""
    return set(inputs) == TEXT_INPUTS


def trim(inputs: dict[str, Any], completion_length: int) -> tuple[dict[str, Any], int]:
    """Cut off the columns that are padding in every row; the inputs, and the completion columns left of them."""
    used = inputs["attention_mask"].any(dim=0).nonzero()
    length = inputs["attention_mask"].size(1)
    start = length - completion_length
    first, last = (int(used[0]), int(used[-1])) if len(used) else (0, length - 1)
    first, last = min(first, start - 1), max(last, start)
    names = ("input_ids", "attention_mask", "labels")
    trimmed = {name: inputs[name][:, first : last + 1] for name in names}
    return {**inputs, **trimmed}, last + 1 - start


def share(model: Any, inputs: dict[str, Any], completion_length: int) -> Shared | None:
    """Find the prompts that a batch repeats; None where there are none, or the model cannot be asked to share."""
    length = inputs["input_ids"].size(1) - completion_length - 1
    if length < 1 or not _can_share(model):
        return None
    # The last token may differ: it is read with the completion, whose first logits it gives.
    prompts, mask = inputs["input_ids"][:, :length], inputs["attention_mask"][:, :length]
    keys, prompt_of_row = torch.unique(torch.cat([prompts * mask, mask], dim=1), dim=0, return_inverse=True)
    if len(keys) == len(prompts):
        return None
    return Shared(keys[:, :length], keys[:, length:], prompt_of_row)


@contextmanager
def read_prompts(model: Any, shared: Shared, inputs: dict[str, Any]) -> Generator[dict[str, Any]]:
    """Read the prompts, and yield the inputs of what is left: each row's last prompt token and its completion."""
    length = shared.prompt_ids.size(1)
    with _checkpoints_keep_cache(model):
        prompts = Cache(layers=[PromptLayer() for _ in DynamicCache(config=model.config).layers])
        model.base_model(
            input_ids=shared.prompt_ids,
            attention_mask=shared.prompt_mask,
            position_ids=_positions(shared.prompt_mask),
            past_key_values=prompts,
            use_cache=False,
        )
        layers: list[Any] = [PromptReader(layer, shared.prompt_of_row) for layer in prompts.layers]  # ty: ignore[invalid-argument-type]
        yield {
            **inputs,
            "input_ids": inputs["input_ids"][:, length:],
            "labels": inputs["labels"][:, length:],
            "position_ids": _positions(inputs["attention_mask"])[:, length:],
            "past_key_values": Cache(layers=layers),
        }


def _positions(mask: Int[Tensor, "B S"]) -> Int[Tensor, "B S"]:
    """Position of each token in its row, as in generation."""
    return (mask.long().cumsum(dim=-1) - 1).clamp(min=0)


def _can_share(model: Any) -> bool:
    parameters = inspect.signature(model.base_model.forward).parameters
    if not {"position_ids", "past_key_values"} <= set(parameters):
        return False
    if getattr(model.config.get_text_config(), "output_router_logits", False):
        return False  # the routers' loss counts the tokens of each row, prompts included
    if is_sharded(model):
        # The gradient of a prompt reaches a layer by its cache, where nothing gathers the layer's weights; and
        # processes whose batches repeat no prompt would call fewer layers than the others.
        return False
    if any(_checkpoint_options(layer).get("use_reentrant") for layer in _checkpointed_layers(model)):
        return False
    layers = DynamicCache(config=model.config).layers
    return bool(layers) and all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers)


def _checkpointed_layers(model: Any) -> list[GradientCheckpointingLayer]:
    if not model.training:
        return []
    layers = (module for module in model.modules() if isinstance(module, GradientCheckpointingLayer))
    return [layer for layer in layers if layer.gradient_checkpointing]


def _checkpoint_options(layer: Any) -> dict[str, Any]:
    return getattr(layer._gradient_checkpointing_func, "keywords", {})


@contextmanager
def _checkpoints_keep_cache(model: Any) -> Generator[None]:
    """Let checkpointed layers have a cache: ours gives the same states again when a layer is recomputed."""
    layers = _checkpointed_layers(model)
    for layer in layers:
        layer._can_checkpoint_with_cache = True
    try:
        yield
    finally:
        for layer in layers:
            del layer._can_checkpoint_with_cache
