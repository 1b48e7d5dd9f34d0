"""Supervised pretraining on pairs of question and completion."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase

IGNORED = -100
"""Label of positions without loss: questions and padding."""

WARMUP_STEPS = 40
TOKENS_PER_ROW = 12
"""About the mean number of tokens with a label."""

BATCHES_AT_ONCE = 32
"""Batches drawn together and sorted by length, so that there is hardly any padding."""


class Batch(NamedTuple):
    """Rows padded on the right; causal attention needs no mask for that."""

    input_ids: Int[Tensor, "B S"]
    labels: Int[Tensor, "B S"]


def batches(
    pairs: Iterator[tuple[str, str]], tokenizer: PreTrainedTokenizerBase, *, batch_size: int
) -> Iterator[Batch]:
    """Yield batches of rows of similar length, in random order, endlessly."""
    while True:
        rows = _encode(list(islice(pairs, BATCHES_AT_ONCE * batch_size)), tokenizer)
        rows.sort(key=lambda row: len(row[0]))
        for index in torch.randperm(BATCHES_AT_ONCE).tolist():
            yield _pad(rows[index * batch_size : (index + 1) * batch_size], int(tokenizer.pad_token_id or 0))


def pretrain(
    model: PreTrainedModel, stream: Iterator[Batch], *, steps: int, learning_rate: float, log_every: int = 50
) -> PreTrainedModel:
    """Train for `steps` batches with linear warm-up, a constant rate, and linear decay over the last third.

    Muon trains the matrices (its updates rescaled to AdamW's), AdamW the embeddings and norms. Prints the mean loss,
    roughly in nats per token, every `log_every` steps.
    """
    both = optimizers(model, learning_rate)
    schedules = [torch.optim.lr_scheduler.LambdaLR(each, lambda step: _rate(step, steps)) for each in both]
    model.train()
    losses = []
    for step, batch in enumerate(islice(stream, steps), start=1):
        loss = _loss(model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in zip(both, schedules, strict=True):
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
        losses.append(loss.item())
        if step % log_every == 0:
            print(f"step {step} of {steps}: loss {sum(losses[-log_every:]) / log_every:.3f}", flush=True)
    return model.eval()


class Together(torch.optim.Optimizer):
    """Several optimizers as one, for trainers that take one; a schedule reaches each."""

    def __init__(self, optimizers: list[torch.optim.Optimizer]) -> None:
        self.optimizers = optimizers
        super().__init__([dict(group) for optimizer in optimizers for group in optimizer.param_groups], {})

    def step(self, closure: Any = None) -> None:  # ty: ignore[incompatible-method-override]
        """Let each take its step, at the rate that a schedule has set here."""
        inner = [group for optimizer in self.optimizers for group in optimizer.param_groups]
        for own, group in zip(self.param_groups, inner, strict=True):
            group["lr"] = own["lr"]
        for optimizer in self.optimizers:
            optimizer.step(closure)


def optimizers(model: PreTrainedModel, learning_rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices, AdamW for the embeddings and norms."""
    embeddings = model.get_input_embeddings().weight
    matrices = [weight for weight in model.parameters() if weight.ndim == 2 and weight is not embeddings]
    others = [weight for weight in model.parameters() if weight.ndim != 2 or weight is embeddings]
    return [
        torch.optim.Muon(matrices, lr=learning_rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    ]


def _encode(pairs: list[tuple[str, str]], tokenizer: PreTrainedTokenizerBase) -> list[tuple[list[int], int]]:
    """Token ids of each pair, and how many of them are prompt."""
    chats = [[{"role": "user", "content": question}] for question, _ in pairs]
    prompts: Any = tokenizer.apply_chat_template(chats, tokenize=False, add_generation_prompt=True)
    completions = [completion + str(tokenizer.eos_token) for _, completion in pairs]
    encoded = [tokenizer(texts, add_special_tokens=False)["input_ids"] for texts in (prompts, completions)]
    return [(prompt + completion, len(prompt)) for prompt, completion in zip(*encoded, strict=True)]


def _pad(rows: list[tuple[list[int], int]], pad_token_id: int) -> Batch:
    longest = max(len(ids) for ids, _ in rows)
    input_ids = torch.full((len(rows), longest), pad_token_id)
    labels = torch.full((len(rows), longest), IGNORED)
    for number, (ids, prompt) in enumerate(rows):
        input_ids[number, : len(ids)] = torch.tensor(ids)
        labels[number, prompt : len(ids)] = torch.tensor(ids[prompt:])
    return Batch(input_ids, labels)


def _loss(model: PreTrainedModel, batch: Batch) -> Tensor:
    logits = model(input_ids=batch.input_ids, use_cache=False).logits
    labels = batch.labels[:, 1:].flatten()
    total = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels, ignore_index=IGNORED, reduction="sum")
    # A constant divisor: rows of a batch have one length, so a mean would weigh tokens of short rows more.
    return total / (TOKENS_PER_ROW * len(batch.labels))


def _rate(step: int, steps: int) -> float:
    return min((step + 1) / WARMUP_STEPS, 1.0, 0.02 + 3 * (steps - step) / steps)
