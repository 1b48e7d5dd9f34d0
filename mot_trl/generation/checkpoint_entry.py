"""The `generate` function of a checkpoint: transformers calls it for `custom_generate="<the checkpoint>"`."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from jaxtyping import Int
from torch import Tensor
from transformers import AutoTokenizer, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.generation.streamers import BaseStreamer

from mot_trl.generation.config import DecoderConfig
from mot_trl.generation.ignored_settings import check_settings

EMBEDDED_CONFIG: dict[str, dict[str, Any]] = {"mixture": {}, "sampling": {}}
"""Decoder and sampling settings of the checkpoint; the exported copy of this file fills them in at its end."""


def generate(
    model: PreTrainedModel,
    *,
    generation_config: GenerationConfig | None = None,
    mixture: dict[str, Any] | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    streamer: BaseStreamer | None = None,
    **kwargs: Any,
) -> Int[Tensor, "B S"]:
    """Generate with mixtures of tokens, as the model was trained to.

    Args:
        model: The checkpoint's model or, if the checkpoint is an adapter, its base with the adapter.
        mixture: Decoder settings to use instead of the checkpoint's, such as `{"strategy": "one_token"}`.
        tokenizer: The model's; by default the one saved with its weights.
        streamer: Receives the prompt and then each visible token.
        generation_config, kwargs: As for transformers' `generate`.

    Raises:
        ValueError: A decoder setting is unknown or out of range, a setting of `generate` would be ignored, or no
            tokenizer is saved with the weights.
    """
    check_settings(kwargs)
    # `generate` may be given a config made from scratch, which holds no decoder; the model's own then does.
    settings = getattr(generation_config, "mixture", None) or getattr(model.generation_config, "mixture", None)
    if not settings:
        # The model is the base of an adapter, and its own generation config knows nothing of the adapter's decoder.
        settings = EMBEDDED_CONFIG["mixture"]
        kwargs = kwargs if generation_config is not None else {**EMBEDDED_CONFIG["sampling"], **kwargs}
    if streamer is not None:
        # transformers puts the prompt into `streamer`, and does not pass it to a custom decoding loop.
        kwargs |= {"streamer": streamer, "token_streamer": streamer}
    config = DecoderConfig.from_dict(settings).override(mixture or {})
    decoder = config.build(tokenizer or _load_tokenizer(str(model.name_or_path)))
    return model.generate(generation_config=generation_config, custom_generate=decoder, **kwargs)  # ty: ignore


def _load_tokenizer(path: str) -> Any:
    # Read anew where a tokenizer has been saved again under the same name.
    return _cached_tokenizer(path, max((file.stat().st_mtime_ns for file in Path(path).glob("*token*")), default=0))


@lru_cache(maxsize=4)
def _cached_tokenizer(path: str, changed: int) -> Any:
    try:
        return AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"Thinking ends at a text, and there is no tokenizer at {path!r} to read it with; pass `tokenizer`."
        ) from error
