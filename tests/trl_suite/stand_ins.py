"""Local stand-ins for the tiny models and datasets that TRL's tests load from the hub.

They lie in folders under the hub's own names. Both libraries look for a folder of that name before they ask the hub,
so tests that run in the folder above find the stand-ins, and nothing is patched.
"""

import json
import re
from pathlib import Path
from typing import Any

import torch
import transformers
import trl
from conftest import SHARED, make_tokenizer
from families.family_table import settings_of
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

ORGANIZATION = "trl-internal-testing"
NAME = re.compile(rf"{ORGANIZATION}/tiny-(\w+For(?:CausalLM|SequenceClassification))[\w.-]*")
REAL = {"Qwen/Qwen2.5-0.5B-Instruct": "Qwen2ForCausalLM"}

# Few and short, since each test trains three epochs on them.
SENTENCES = ["Simple is better than", "Now is better", "If in doubt, refuse"]
SPLITS = {"train": SENTENCES, "test": SENTENCES[:2]}


def make_stand_ins(source: str, folder: Path) -> None:
    """Make the models and datasets that a test file names, as far as text alone makes them."""
    kinds = {match[0]: match[1] for match in NAME.finditer(source)}
    for name, kind in {**kinds, **REAL}.items():
        if name in source and kind.removeprefix("Remote") == kind:
            _make_model(kind, folder / name)
    _make_dataset(folder / ORGANIZATION / "zen")


def _make_model(kind: str, folder: Path) -> None:
    family = getattr(transformers, kind).config_class.model_type
    tokenizer = _tokenizer(family)
    config = settings_of(family)
    config.vocab_size, config.initializer_range = len(tokenizer), 0.2
    config.pad_token_id = tokenizer.pad_token_id
    config.bos_token_id = config.eos_token_id = tokenizer.eos_token_id
    torch.manual_seed(0)
    if kind.endswith("SequenceClassification"):
        config.num_labels = 1
        model = AutoModelForSequenceClassification.from_config(config)
    else:
        model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _tokenizer(family: str) -> Any:
    # TRL's tests of tools hold ids of Qwen3's, and need its template. All others run on bytes, fifty times as fast.
    folder = SHARED / "tokenizers" / "qwen3"
    if not (family.startswith("qwen3") and folder.is_dir()):
        return make_tokenizer()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    # TRL knows how to read tool calls by the very text of the template.
    tokenizer.chat_template = (Path(trl.__file__).parent / "chat_templates" / "qwen3.jinja").read_text()
    return tokenizer


def _make_dataset(folder: Path) -> None:
    forms = {
        "standard_prompt_only": lambda text: {"prompt": text},
        "conversational_prompt_only": lambda text: {"prompt": [{"role": "user", "content": text}]},
    }
    lines = ["---", "configs:"]
    for name, form in forms.items():
        lines += [f"- config_name: {name}", "  data_files:"]
        (folder / name).mkdir(parents=True, exist_ok=True)
        for split, texts in SPLITS.items():
            lines += [f"  - split: {split}", f"    path: {name}/{split}.jsonl"]
            (folder / name / f"{split}.jsonl").write_text("\n".join(json.dumps(form(text)) for text in texts))
    (folder / "README.md").write_text("\n".join([*lines, "---", ""]))
