"""Write the model card's section about mixtures: strategy, data, metrics, and how to use the model."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mot_trl.generation.config import DecoderConfig

# HTML comments do not show in the rendered card. They let a later save replace the section and leave the rest.
BEGIN, END = "<!-- mot_trl: begin -->", "<!-- mot_trl: end -->"
METRICS = re.compile(r"(eval_)?(reward|rewards/.*/mean|completions/mean_length|mixture/.*)")
FRONT_MATTER = "---\nlibrary_name: transformers\ntags:\n- trl\n- grpo\n- mot_trl\n---\n\n"

USE = """from transformers import AutoModelForCausalLM, AutoTokenizer

path = "{path}"  # this folder or repository
tokenizer = AutoTokenizer.from_pretrained(path)
model = AutoModelForCausalLM.from_pretrained(path)
chat = [{{"role": "user", "content": "What is 12 * 13?"}}]
inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
output = model.generate(**inputs, custom_generate=path, trust_remote_code=True, max_new_tokens=512)
print(tokenizer.decode(output[0, inputs["input_ids"].size(1) :], skip_special_tokens=True))"""


def write_section(
    file: Path,
    decoder: DecoderConfig,
    *,
    path: str,
    dataset: Any,
    rewards: Sequence[str],
    log_history: Sequence[Mapping[str, Any]],
    step: int,
    base: str | None = None,
) -> None:
    """Write the section of a card about mixtures, or replace the one that is there; the rest of the card stays.

    Args:
        file: The card, `README.md` of a checkpoint; made if it does not exist.
        path: The model's name on the hub, or its folder's, for the usage example.
        base: Name of the model below, if the checkpoint is an adapter.
        log_history: The trainer's log; the last value of each metric is shown.
    """
    metrics: dict[str, float] = {}
    for entry in log_history:
        metrics |= {name: value for name, value in entry.items() if METRICS.fullmatch(name)}
    options = ", ".join(f"{name}={value!r}" for name, value in decoder.strategy_kwargs.items())
    phases = {
        name: value
        for name, value in decoder.to_dict().items()
        if name not in ("strategy", "strategy_kwargs") and value is not None
    }
    needs = "torch and transformers" if base is None else f"torch, transformers, peft and the base model {base}"
    lines = [
        "## Thinking in mixtures of tokens",
        "While it thinks, this model reads weighted blends of several tokens' embeddings instead of single tokens. It "
        "was trained to with GRPO by mot_trl, and includes the decoder.",
        f"- Strategy: `{decoder.strategy}`" + (f" with {options}" if options else ""),
        f"- Phases: {', '.join(f'{name}={value!r}' for name, value in phases.items())}",
        f"- Training data: {_describe(dataset)}",
        f"- Rewards: {', '.join(rewards) or 'none'}",
        f"- Steps: {step}",
        "### Use",
        f"```python\n{USE.format(path=path)}\n```",
        f"It needs {needs} only; `trust_remote_code=True` runs `custom_generate/generate.py`. Without "
        '`custom_generate` the model generates ordinary tokens; `mixture={"strategy": ...}` chooses another strategy.',
    ]
    if metrics:
        table = "\n".join(f"| {name} | {value:.4g} |" for name, value in metrics.items())
        lines += ["### Metrics at the end of training", f"| metric | value |\n| --- | --- |\n{table}"]
    # Paragraphs are set apart by a blank line, the items of a list are not.
    replace_section("\n\n".join(lines).replace("\n\n- ", "\n- ").replace("\n- Strategy", "\n\n- Strategy"), file)


def replace_section(text: str, file: Path) -> None:
    """Put a section into a card in place of the one that is there, or at the end; make the card if there is none."""
    marked = f"{BEGIN}\n{text}\n{END}\n"
    card = file.read_text(encoding="utf-8") if file.is_file() else FRONT_MATTER
    before, found, rest = card.partition(BEGIN)
    after = rest.partition(END)[2].removeprefix("\n") if found else ""
    space = "" if found or before.endswith("\n\n") else "\n"
    file.write_text(before + space + marked + after, encoding="utf-8")


def _describe(dataset: Any) -> str:
    """Name a dataset, as far as it knows its name, and its size."""
    name = getattr(getattr(dataset, "info", None), "dataset_name", None) or "unnamed"
    # Datasets that stream have no length.
    try:
        return f"{name}, {len(dataset)} rows"
    except TypeError:
        return f"{name}, streamed"
