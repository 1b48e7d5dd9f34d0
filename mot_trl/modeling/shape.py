"""What the memory of a model depends on, counted without weights: parameters, cache and activations."""

from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig


@dataclass(frozen=True)
class ModelShape:
    """Numbers of elements, from a model that was built on the meta device.

    Attributes:
        parameters: All parameters, tied ones once.
        linear: Those in the weights of linear layers, the output head left out: what 4-bit loading quantizes.
        largest: Those of the largest module that sharding gathers at once: a decoder layer, or an embedding table.
        adapter: Parameters of a LoRA adapter on all linear layers.
        layers: Decoder layers.
        hidden: Width of the residual stream.
        vocabulary: Columns of the logits.
        kept: Elements that one decoder layer keeps per token for the backward pass; float32 copies count double.
        windows: Tokens that the cache of each attention layer holds at most; None for all. Recurrent layers have none.
        cache: Elements of keys and values that one attention layer caches per token.
    """

    parameters: int
    linear: int
    largest: int
    adapter: int
    layers: int
    hidden: int
    vocabulary: int
    kept: int
    windows: tuple[int | None, ...]
    cache: int

    def cached(self, length: int) -> int:
        """Elements of keys and values in the cache of one sequence of `length` tokens."""
        return self.cache * sum(length if window is None else min(length, window) for window in self.windows)


def read_shape(model: str, *, lora_r: int = 16) -> ModelShape:
    """Count a model of which only the config is read: a folder, a `config.json`, or a name on the hub."""
    return shape_of(AutoConfig.from_pretrained(model), lora_r=lora_r)


def shape_of(config: PretrainedConfig, *, lora_r: int = 16) -> ModelShape:
    """Count the model that a config describes.

    Raises:
        ValueError: Its attention caches something else than keys and values of equal size, so it cannot be counted.
    """
    text: Any = config.get_text_config(decoder=True)
    if getattr(text, "kv_lora_rank", None):
        raise ValueError(f"The cache of {config.model_type} (latent attention) cannot be counted.")
    with torch.device("meta"):
        model = _build(config)
        head: Any = model.get_output_embeddings()
        linear = [m for m in model.modules() if isinstance(m, nn.Linear) and m is not head]
        size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        groups = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
        numbers = {
            "parameters": model.num_parameters(),
            "linear": sum(m.weight.numel() for m in linear),
            "adapter": sum(lora_r * (m.in_features + m.out_features) for m in linear),
            "largest": max(_count(m) for m in [*_decoder_layers(model), model.get_input_embeddings(), head]),
        }
    return ModelShape(
        **numbers,
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        vocabulary=text.vocab_size,
        kept=_kept(text, _decoder_layers(model)[0], text.num_attention_heads * size, groups * size),
        windows=_windows(text),
        cache=2 * groups * size,
    )


def _build(config: PretrainedConfig) -> Any:
    # Models that read pictures are no causal language models for the Auto class, but their checkpoints name a class.
    named = getattr(transformers, (config.architectures or [""])[0], None)
    return AutoModelForCausalLM.from_config(config) if named is None else named(config)


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _decoder_layers(model: Any) -> list[nn.Module]:
    names = set(model._no_split_modules or ())
    return [module for module in model.modules() if type(module).__name__ in names]


def _windows(text: Any) -> tuple[int | None, ...]:
    """The window of each attention layer."""
    # Qwen2's config names a window that `use_sliding_window` leaves unused; `layer_types` says which layers use one.
    kinds = getattr(text, "layer_types", None)
    window = getattr(text, "sliding_window", None)
    if kinds is None:
        return (window,) * text.num_hidden_layers
    return tuple(None if kind == "full_attention" else window for kind in kinds if not kind.startswith("linear"))


def _kept(text: Any, layer: nn.Module, queries: int, keys: int) -> int:
    """Elements that a decoder layer keeps per token under attention that stores no scores (arXiv 2205.05198)."""
    chosen = getattr(text, "num_experts_per_tok", None) or 0
    inner = getattr(text, "intermediate_size", 0)
    if chosen:
        expert = getattr(text, "moe_intermediate_size", None) or inner
        inner = chosen * expert + (getattr(text, "shared_expert_intermediate_size", None) or 0)
    norms = [module for module in layer.modules() if "Norm" in type(module).__name__]
    wide = sum(_count(module) >= text.hidden_size for module in norms)
    normed = wide * text.hidden_size + (queries + keys if wide < len(norms) else 0)
    # Each norm keeps its input, a float32 copy of it (two elements) and of its output. Then queries, keys and values
    # before and after rotation, and attention's output; gate, up, its activation, and their product; for experts, the
    # tokens that each is given, and its answers.
    return 5 * normed + 4 * queries + 5 * keys + 4 * inner + 2 * chosen * text.hidden_size
