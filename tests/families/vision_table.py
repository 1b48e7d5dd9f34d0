"""Vision-language families in miniature, and what a processor would make of one image a prompt."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from family_table import WINDOW
from torch import Tensor
from transformers import CONFIG_MAPPING, AutoModelForImageTextToText, PreTrainedModel

IMAGE, VIDEO, VISION_START, VISION_END = 250, 251, 252, 253
TEXT: dict[str, Any] = {
    "vocab_size": 264,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
VISION = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
TOWER = {**VISION, "image_size": 8, "patch_size": 2}
QWEN = {"depth": 2, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "patch_size": 4, "out_hidden_size": 32}
QWEN_IDS = {
    "image_token_id": IMAGE,
    "video_token_id": VIDEO,
    "vision_start_token_id": VISION_START,
    "vision_end_token_id": VISION_END,
}
MULTIMODAL_ROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}


def grid_of_patches(ids: Tensor) -> dict[str, Tensor]:
    """Each image is four patches high and two wide, of 2 x 4 x 4 pixels in three channels; four patches a token."""
    generator = torch.Generator().manual_seed(3)
    return {
        "pixel_values": torch.randn(8 * len(ids), 3 * 2 * 4 * 4, generator=generator),
        "image_grid_thw": torch.tensor([[1, 4, 2]] * len(ids)),
        "mm_token_type_ids": (ids == IMAGE).long(),
    }


def squares(ids: Tensor) -> dict[str, Tensor]:
    """One image of 8 x 8 pixels a row."""
    return {"pixel_values": torch.randn(len(ids), 3, 8, 8, generator=torch.Generator().manual_seed(3))}


def typed_squares(ids: Tensor) -> dict[str, Tensor]:
    """The same, and which tokens stand for it."""
    return {**squares(ids), "token_type_ids": (ids == IMAGE).long()}


def listed_squares(ids: Tensor) -> dict[str, Tensor]:
    """The same, in a list of one image a row."""
    return {"pixel_values": squares(ids)["pixel_values"].unsqueeze(1)}


class Vision(NamedTuple):
    """A family's config, how many tokens stand for an image, and the inputs that hold it."""

    settings: dict[str, Any]
    image_tokens: int
    inputs: Callable[[Tensor], dict[str, Tensor]]


FAMILIES: dict[str, Vision] = {
    "gemma3": Vision(
        {
            "text_config": {**TEXT, **WINDOW, "head_dim": 8, "query_pre_attn_scalar": 8},
            "vision_config": {**TOWER, "vision_use_head": False},
            "mm_tokens_per_image": 4,
            "image_token_index": IMAGE,
            "boi_token_index": VISION_START,
            "eoi_token_index": VISION_END,
        },
        4,
        typed_squares,
    ),
    "internvl": Vision(
        {
            "text_config": {**TEXT, "model_type": "qwen2"},
            "vision_config": {**VISION, "image_size": [8, 8], "patch_size": [2, 2]},
            "image_token_id": IMAGE,
            "image_seq_length": 4,
        },
        4,
        squares,
    ),
    "qwen2_5_vl": Vision(
        {
            "text_config": {**TEXT, "rope_parameters": MULTIMODAL_ROPE},
            "vision_config": {**QWEN, "window_size": 16, "fullatt_block_indexes": [1]},
            **QWEN_IDS,
        },
        2,
        grid_of_patches,
    ),
    "qwen3_vl": Vision(
        {
            "text_config": {**TEXT, "head_dim": 8, "rope_parameters": MULTIMODAL_ROPE},
            "vision_config": {**QWEN, "num_position_embeddings": 16, "deepstack_visual_indexes": [0]},
            **QWEN_IDS,
        },
        2,
        grid_of_patches,
    ),
    "smolvlm": Vision(
        {
            "text_config": {**TEXT, "model_type": "llama"},
            "vision_config": TOWER,
            "image_token_id": IMAGE,
            "scale_factor": 2,
        },
        4,
        listed_squares,
    ),
}


def build(family: str, *, seed: int = 0, **overrides: Any) -> PreTrainedModel:
    """A tiny model of the family, in evaluation mode."""
    torch.manual_seed(seed)
    config = CONFIG_MAPPING[family](**{**FAMILIES[family].settings, **overrides})
    model = AutoModelForImageTextToText.from_config(config).eval()
    for parameter in model.parameters():
        if not parameter.any():
            # Gemma 3's fresh projector shows nothing of the image.
            torch.nn.init.normal_(parameter.data, std=0.2)
    return model


def prompts(family: str) -> tuple[Tensor, Tensor]:
    """Two prompts of different lengths around an image, padded on the left, and their mask."""
    image = [VISION_START, *[IMAGE] * FAMILIES[family].image_tokens, VISION_END]
    rows = [torch.tensor([9, *image, 12, 13]), torch.tensor([9, 10, 11, *image, 12, 13, 14, 15])]
    length = len(rows[1])
    ids = torch.stack([torch.cat([torch.zeros(length - len(row), dtype=torch.long), row]) for row in rows])
    mask = torch.stack([(torch.arange(length) >= length - len(row)).long() for row in rows])
    return ids, mask


def for_replay(inputs: dict[str, Tensor], completion_length: int) -> dict[str, Tensor]:
    """What goes with the prompt, as TRL extends it over the completion: which is text."""
    per_token = ("token_type_ids", "mm_token_type_ids")
    return {
        name: torch.nn.functional.pad(value, (0, completion_length)) if name in per_token else value
        for name, value in inputs.items()
    }
