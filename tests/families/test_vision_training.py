"""A vision-language model learns through TRL's image columns, mixtures in its thinking."""

from pathlib import Path

import pytest
from conftest import make_tokenizer
from family_laws import share_of_weights_moved
from transformers import Gemma3ImageProcessorPil, Gemma3Processor
from vision_table import build

from mot_trl.tasks import counting

pytest.importorskip("PIL")

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<boi>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def processor() -> Gemma3Processor:
    """Gemma's, of 8 x 8 pixels and four tokens an image; its text is bytes."""
    tokenizer = make_tokenizer()
    tokens = {"boi_token": "<boi>", "eoi_token": "<eoi>", "image_token": "<image>"}
    tokenizer.add_special_tokens({"additional_special_tokens": [*tokens.values()]})
    for name, token in tokens.items():
        setattr(tokenizer, name, token)
        setattr(tokenizer, f"{name}_id", tokenizer.convert_tokens_to_ids(token))
    images = Gemma3ImageProcessorPil(size={"height": 8, "width": 8})
    return Gemma3Processor(images, tokenizer, chat_template=TEMPLATE, image_seq_length=4)


def test_one_step_on_pictures_moves_the_weights(tmp_path: Path) -> None:
    reader = processor()
    image_token_id = reader.tokenizer.convert_tokens_to_ids("<image>")
    model = build("gemma3", image_token_index=image_token_id)

    moved, gap = share_of_weights_moved(model, reader, tmp_path, train_dataset=counting.load(rows=4, cells=2, size=16))

    assert moved > 0.9
    # TRL never draws the image token, whose share of the probability replay counts.
    assert gap < 0.1
