"""Write the checkpoint of nano: weights, tokenizer and model card."""

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

A LLaMA of {parameters:,} parameters that reasons about six families of small puzzles (`mot_trl.tasks.nano`), meant for
reinforcement learning in minutes on a CPU. It was pretrained on careful and careless demonstrations and imitates both,
which leaves room for improvement.

```python
from mot_trl import generate
from mot_trl.tasks.nano.model import load_nano

model, tokenizer = load_nano()
print(generate(model, tokenizer, [[{{"role": "user", "content": "gcd 27 18"}}]], max_new_tokens=64).texts)
```

Pretrained from scratch, on generated data only, with

```sh
{command}
```

in {cpu_minutes:.0f} CPU minutes; one machine reproduces its own bytes. SHA-256 of `model.safetensors`:
`{digest}`.

## What it can do

One completion in ordinary tokens at temperature 1 for each of {rows} held-out questions, with 95 % intervals. NLL:
mean negative log-likelihood (nats) per thinking token, an estimate of its entropy.

| family | accuracy | NLL |
| --- | --- | --- |
{figures}

It knows nothing else: no natural language, and no numbers above 99.
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
    """Write the checkpoint folder, weights in bfloat16; `measured` are the figures of the card."""
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
        f"| {each.mean_nll:.2f} |"
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
