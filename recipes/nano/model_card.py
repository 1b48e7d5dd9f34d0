"""Write the checkpoint of nano: weights, tokenizer and model card."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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


SOFT_CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
---

# {name}

A LLaMA of {parameters:,} parameters in two layers that thinks about three families of puzzles (`mot_trl.tasks.width`),
{thinks}.

```python
from mot_trl import generate
from mot_trl.generation.config import DecoderConfig
from mot_trl.tasks import width
from mot_trl.tasks.nano.model import {loader}

model, tokenizer = {loader}()
decoder = DecoderConfig.from_dict(model.generation_config.mixture).build(tokenizer)
prompts = width.load("reach", size=2, split="test")["prompt"]
thinking = {{"strategy": decoder.strategy, "phases": decoder.phases}}
print(generate(model, tokenizer, prompts, **thinking, max_new_tokens=16).texts)
```

The checkpoint carries its decoder, which thinks for three steps.

Trained from scratch, on generated data only, with

```sh
{command}
```

in {cpu_minutes:.0f} CPU minutes: first to look up edges and to walk at random in ordinary tokens, then, with
`mot_trl.MoTSFTTrainer`, on {demonstrations:,} puzzles. SHA-256 of `model.safetensors`:
`{digest}`.

## What it can do

Four completions for each of {rows} held-out questions at temperature 1, with three thinking steps and 95 % intervals;
tokens are sampled, or the likeliest is taken. Candidates: effective number in a mixture (`1 / sum w^2`), step by step.

| family | chance | in mixtures | sampled tokens | likeliest tokens | candidates |
| --- | --- | --- | --- | --- | --- |
{figures}

It knows nothing else: no natural language, no other puzzles, no thinking of another length.
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
    figures = (
        f"| {task} | {each.accuracy.mean:.2f} ({each.accuracy.low:.2f} to {each.accuracy.high:.2f}) "
        f"| {each.mean_nll:.2f} |"
        for task, each in measured.items()
    )
    save_with_card(
        model,
        tokenizer,
        folder,
        CARD,
        max_new_tokens=64,
        command=command,
        cpu_minutes=cpu_minutes,
        rows=rows,
        figures="\n".join(figures),
    )


def save_with_card(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    card: str,
    *,
    max_new_tokens: int,
    mixture: dict[str, Any] | None = None,
    **fields: Any,
) -> None:
    """Write the checkpoint folder, weights in bfloat16.

    Args:
        card: Text of the card, with places for the `fields`, for the number of `parameters`, and for the `digest` of
            the weights.
        mixture: The decoder that the checkpoint carries, as plain data.
    """
    model.generation_config = GenerationConfig(
        do_sample=True,
        max_new_tokens=max_new_tokens,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **({} if mixture is None else {"mixture": mixture}),
    )
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    text = card.format(parameters=model.num_parameters(), digest=digest, **fields)
    (folder / "README.md").write_text(text, encoding="utf-8")
