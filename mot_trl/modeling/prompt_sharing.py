"""Read each distinct prompt of a training batch once, with its gradient.

The prompts pass through the backbone first and leave their keys and values in a cache. Then each row's last prompt
token and completion pass, and attend to the cached states of their prompt. The states are part of the graph, so the
gradients of all rows add up in them, and one backward pass goes through both.
"""

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
from transformers.utils import logging

from mot_trl.modeling.distributed import is_sharded
from mot_trl.modeling.dropout import has_dropout
from mot_trl.modeling.patching import hold

logger = logging.get_logger(__name__)

# The inputs that TRL passes for text. Batches with more (images, a request for router logits) are read row by row.
TEXT_INPUTS = {"input_ids", "attention_mask", "labels", "fused_lm_head"}


class PromptLayer(DynamicLayer):
    """Keeps the keys and values of prompts, in the first pass."""

    def update(
        self, key_states: Float[Tensor, "U A T D"], value_states: Float[Tensor, "U A T E"], *args: Any, **kwargs: Any
    ) -> tuple[Float[Tensor, "U A T D"], Float[Tensor, "U A T E"]]:
        """Keep the states, and return them."""
        # Gradient checkpointing calls the layer again in the backward pass. The rows have read the first states by
        # then, and their gradient arrives there, so a second call must not replace them.
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values = key_states, value_states
        return key_states, value_states


class PromptReader(DynamicLayer):
    """Puts its prompt's keys and values in front of each of `B` rows' own, in the second pass.

    Nothing of the rows' own is kept, so a layer that is recomputed finds the cache as it was.
    """

    def __init__(self, prompts: PromptLayer, prompt_of_row: Int[Tensor, " B"]) -> None:
        super().__init__()
        self.is_initialized = True
        self.keys, self.values, self.prompt_of_row = prompts.keys, prompts.values, prompt_of_row

    def update(
        self, key_states: Float[Tensor, "B A T D"], value_states: Float[Tensor, "B A T E"], *args: Any, **kwargs: Any
    ) -> tuple[Float[Tensor, "B A S D"], Float[Tensor, "B A S E"]]:
        """Concatenate the prompt's states and the row's own."""
        if self.keys is None or self.values is None:
            return key_states, value_states
        rows = self.prompt_of_row.to(self.keys.device)  # layers may be spread over devices
        return torch.cat([self.keys[rows], key_states], dim=-2), torch.cat([self.values[rows], value_states], dim=-2)


class Shared(NamedTuple):
    """The distinct prompts of a batch without their last token, and the index of each row's prompt."""

    prompt_ids: Int[Tensor, "U Q"]
    prompt_mask: Int[Tensor, "U Q"]
    prompt_of_row: Int[Tensor, " B"]


def trim(inputs: dict[str, Any], completion_length: int) -> tuple[dict[str, Any], int]:
    """Drop columns that are padding in every row; returns the inputs and the number of completion columns left."""
    used, length = inputs["attention_mask"].any(dim=0).nonzero(), inputs["attention_mask"].size(1)
    start = length - completion_length
    first, last = (int(used[0]), int(used[-1])) if len(used) else (0, length - 1)
    # One column each of prompt and completion stays, however empty: the shift by one token needs both.
    first, last = min(first, start - 1), max(last, start)
    trimmed = {name: inputs[name][:, first : last + 1] for name in ("input_ids", "attention_mask", "labels")}
    return {**inputs, **trimmed}, last + 1 - start


def share(model: Any, inputs: dict[str, Any], completion_length: int) -> Shared | None:
    """Find the prompts that a batch repeats; None if it repeats none, or if the model cannot share them."""
    length = inputs["input_ids"].size(1) - completion_length - 1
    if length < 1:
        return None
    # Without the prompt's last token, whose hidden state predicts the completion: it is read with the completion.
    # The mask is part of the key, since token 0 may be text in one row and padding in another.
    prompts, mask = inputs["input_ids"][:, :length], inputs["attention_mask"][:, :length]
    keys, prompt_of_row = torch.unique(torch.cat([prompts * mask, mask], dim=1), dim=0, return_inverse=True)
    if len(keys) == len(prompts) or not _can_share(model, inputs["input_ids"].size(1)):
        return None
    return Shared(keys[:, :length], keys[:, length:], prompt_of_row)


@contextmanager
def read_prompts(model: Any, shared: Shared, inputs: dict[str, Any]) -> Generator[dict[str, Any]]:
    """Read the prompts, and yield the inputs of the second pass: each row's last prompt token and its completion."""
    length = shared.prompt_ids.size(1)
    # Else transformers drops the cache of checkpointed layers; ours is the same after a layer is recomputed.
    with hold(_checkpointed_layers(model), "_can_checkpoint_with_cache", True):
        kept = [PromptLayer() for _ in DynamicCache(config=model.config).layers]
        model.base_model(
            input_ids=shared.prompt_ids,
            attention_mask=shared.prompt_mask,
            position_ids=_positions(shared.prompt_mask),
            past_key_values=Cache(layers=list(kept)),
            use_cache=False,
        )
        if all(layer.keys is None for layer in kept):
            # GPT-2 and others hand checkpointed layers no cache at all, so each row reads its own prompt after all.
            logger.warning_once(
                f"Each row of a batch reads its own prompt, which takes more time, because {type(model).__name__} "
                "keeps no cache under gradient checkpointing; set `gradient_checkpointing=False` if memory allows."
            )
            yield {**inputs, "position_ids": _positions(inputs["attention_mask"])}
            return
        layers: list[Any] = [PromptReader(layer, shared.prompt_of_row) for layer in kept]
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


def _can_share(model: Any, length: int) -> bool:
    if not {"position_ids", "past_key_values"} <= set(inspect.signature(model.base_model.forward).parameters):
        return False
    if getattr(model.config.get_text_config(), "output_router_logits", False):
        return False  # the routers' loss counts each row's tokens, prompts included
    if is_sharded(model):
        # The gradient of a prompt enters a layer through its cache, past the hooks that gather the layer's weights;
        # and processes whose batches repeat no prompt would make fewer calls than the others wait for.
        return False
    checkpoints: list[Any] = [layer._gradient_checkpointing_func for layer in _checkpointed_layers(model)]
    if any(getattr(checkpoint, "keywords", {}).get("use_reentrant") for checkpoint in checkpoints):
        return False  # reentrant checkpoints see only the gradient of a layer's output, not of its cache
    layers = DynamicCache(config=model.config).layers
    if not layers or any(type(layer) not in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers):
        return False
    # With dropout, each row must read its prompt for itself: another mask, another reading.
    is_random = model.training and has_dropout(model)
    reason = "dropout" if is_random else _changing_positions(model.config.get_text_config(), length)
    if reason:
        logger.warning_once(f"Each row of a batch reads its own prompt, which takes more time, because of {reason}.")
    return not reason


def _changing_positions(config: Any, length: int) -> str | None:
    """Rotary frequencies that depend on how long the sequence is, so that a prompt alone has others."""
    parameters = getattr(config, "rope_parameters", None) or {}
    # Layers without rotary positions have None.
    for rope in filter(None, parameters.values() if "full_attention" in parameters else [parameters]):
        kind = rope.get("rope_type", "default")
        limit = rope.get("original_max_position_embeddings") or config.max_position_embeddings
        if (kind == "longrope" or "dynamic" in kind) and length > limit:
            return f"rotary positions of the kind {kind!r}, which change beyond {limit} tokens"
    return None


def _checkpointed_layers(model: Any) -> list[GradientCheckpointingLayer]:
    layers = (module for module in model.modules() if isinstance(module, GradientCheckpointingLayer))
    return [layer for layer in layers if model.training and layer.gradient_checkpointing]
