"""The folder of the embedded model: weights, tokenizer and model card."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from mot_trl.evaluation.quick import Measurement

CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
---

# nano

A LLaMA of {parameters:,} parameters that thinks about six families of small puzzles (`mot_trl.tasks.nano`), made to be
trained further in minutes on a CPU. It has learnt careful and careless ways of thinking, and mixes them: there is
something for reinforcement learning to find.

```python
from mot_trl import generate
from mot_trl.tasks.nano.model import load_nano

model, tokenizer = load_nano()
print(generate(model, tokenizer, [[{{"role": "user", "content": "gcd 27 18"}}]], max_new_tokens=64).texts)
```

Made from nothing, with no data but what its generators make, by

```sh
{command}
```

in {cpu_minutes:.0f} CPU minutes; the same machine makes the same bytes again. SHA-256 of `model.safetensors`:
`{digest}`.

## What it can do

Sampled at temperature 1 in ordinary tokens, one completion for each of {rows} held-out questions; 95 % intervals;
surprisal of a token of thinking in nats, which estimates its entropy.

| family | accuracy | surprisal |
| --- | --- | --- |
{figures}

It can do nothing else: no language, and no numbers above 99.
"""


def save(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    *,
    measured: Mapping[str, Measurement],
    rows: int,
    command: str,
    cpu_minutes: float,
) -> None:
    """Write the folder, the weights in bfloat16."""
    model.generation_config = GenerationConfig(
        do_sample=True,
        max_new_tokens=64,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    figures = (
        f"| {task} | {each.accuracy.mean:.2f} ({each.accuracy.low:.2f} to {each.accuracy.high:.2f}) "
        f"| {each.surprisal:.2f} |"
        for task, each in measured.items()
    )
    card = CARD.format(
        parameters=model.num_parameters(),
        command=command,
        cpu_minutes=cpu_minutes,
        digest=hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
        rows=rows,
        figures="\n".join(figures),
    )
    (folder / "README.md").write_text(card, encoding="utf-8")
