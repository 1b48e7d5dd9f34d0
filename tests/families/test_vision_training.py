"""A vision-language model learns through TRL's image columns, mixtures in its thinking."""

import json
import runpy
import sys
from pathlib import Path

import pytest
from conftest import make_tokenizer
from family_laws import share_of_weights_moved
from transformers import Gemma3ImageProcessorPil, Gemma3Processor
from vision_table import build

from mot_trl.tasks import shape_counting as counting
from mot_trl.trainer import script_utils

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


@pytest.mark.slow
def test_the_recipe_trains_a_tiny_model_a_few_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = processor()
    image_token_id = reader.tokenizer.convert_tokens_to_ids("<image>")
    build("gemma3", image_token_index=image_token_id).save_pretrained(tmp_path / "model")
    reader.save_pretrained(tmp_path / "model")
    # Gemma's own configuration names its image tokens, by which a processor that is loaded knows them.
    file = tmp_path / "model" / "tokenizer_config.json"
    names = {"boi_token": "<boi>", "eoi_token": "<eoi>", "image_token": "<image>"}
    file.write_text(json.dumps({**json.loads(file.read_text()), "extra_special_tokens": names}))
    recipe = runpy.run_path(str(Path(__file__).parents[2] / "recipes" / "vlm_counting.py"))
    flags = [
        *("--model_name_or_path", str(tmp_path / "model"), "--output_dir", str(tmp_path / "run"), "--max_steps", "3"),
        *("--num_generations", "4", "--per_device_train_batch_size", "4", "--gradient_accumulation_steps", "1"),
        *("--max_completion_length", "8", "--use_cpu", "--bf16", "false", "--report_to", "none"),
    ]
    monkeypatch.setattr(sys, "argv", ["vlm_counting", *flags])

    recipe["main"](*script_utils.parse(recipe["DEFAULTS"]))

    state = json.loads(next((tmp_path / "run").glob("checkpoint-3/trainer_state.json")).read_text())
    assert state["global_step"] == 3
    assert all(entry["mixture/share"] > 0 for entry in state["log_history"] if "mixture/share" in entry)
