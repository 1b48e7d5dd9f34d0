"""Measures of what every model family must satisfy: each returns an error, in nats unless it says otherwise."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl.trainer.utils import add_fused_lm_head

from mot_trl import MoTGRPOConfig, MoTGRPOTrainer
from mot_trl.generation import forward_pass
from mot_trl.generation.decoder import MixtureDecoder
from mot_trl.generation.phases import BudgetRule, Phases
from mot_trl.modeling.candidate_head import add_candidate_head
from mot_trl.modeling.embedding import override_embeddings
from mot_trl.modeling.rollout import Rollout
from mot_trl.strategies import build_strategy
from mot_trl.strategies.surrogate import surrogate

TOLERANCE = 1e-5
TEMPERATURE = 0.7
# A low floor, so that the surest of the tiny models mix, too.
STRATEGY = build_strategy("dirichlet", k=3, min_prob=0.03)
# With forced tokens and an answer behind the thoughts.
PHASES = Phases(rules=(BudgetRule(6),), closing_ids=(3, 4))
NEW_TOKENS = 12
# Several, so that rows end at different times.
EOS = (5, 40, 41, 42, 43)
# Longer than the tiny models' windows, with padding of several lengths; the last two prompts are equal.
LENGTHS = (7, 2, 12, 12)


@dataclass
class Batch:
    """Prompts padded on the left, what was decoded behind them, and its record."""

    prompt_ids: Tensor
    prompt_mask: Tensor
    completion_ids: Tensor
    completion_mask: Tensor
    rollout: Rollout
    # Images and what goes with them; by row where `alone` is asked for.
    extra: Sequence[dict[str, Tensor]] = field(default_factory=tuple)

    @property
    def inputs(self) -> dict[str, Tensor]:
        """What TRL hands to the model when it scores the batch."""
        ids = torch.cat([self.prompt_ids, self.completion_ids], dim=1)
        mask = torch.cat([self.prompt_mask, self.completion_mask], dim=1)
        return {"input_ids": ids, "attention_mask": mask}

    @property
    def labels(self) -> Tensor:
        """The completions' visible tokens; nothing else is scored."""
        ids = self.completion_ids.masked_fill(self.completion_mask == 0, -100)
        return torch.cat([torch.full_like(self.prompt_ids, -100), ids], dim=1)

    @property
    def drawn(self) -> Tensor:
        """Where a completion token was drawn: neither padding nor forced."""
        return self.completion_mask.bool() & ~self.rollout.forced_mask

    def alone(self, row: int) -> "Batch":
        """One row without any padding."""
        start, end = int((self.prompt_mask[row] == 0).sum()), int(self.completion_mask[row].sum())
        at = slice(row, row + 1)
        return Batch(
            self.prompt_ids[at, start:],
            self.prompt_mask[at, start:],
            self.completion_ids[at, :end],
            self.completion_mask[at, :end],
            self.rollout.rows(row, row + 1).resize(end),
        )


def prompts(vocabulary: int) -> tuple[Tensor, Tensor]:
    """Ragged prompts of random tokens, padded on the left, and their mask."""
    generator = torch.Generator().manual_seed(1)
    rows = [torch.randint(8, vocabulary, (length,), generator=generator) for length in LENGTHS]
    rows[-1] = rows[-2]
    ids = torch.stack([torch.cat([torch.zeros(max(LENGTHS) - len(row), dtype=torch.long), row]) for row in rows])
    mask = torch.stack([(torch.arange(max(LENGTHS)) >= max(LENGTHS) - len(row)).long() for row in rows])
    return ids, mask


def decode(model: PreTrainedModel, ids: Tensor, mask: Tensor, **options: Any) -> Batch:
    """Think in mixtures, close the thinking by force, answer."""
    decoder = MixtureDecoder(STRATEGY, PHASES)
    torch.manual_seed(2)
    settings = {"do_sample": True, "temperature": TEMPERATURE, "top_k": 0, "max_new_tokens": NEW_TOKENS, **options}
    sequences = model.generate(
        input_ids=ids, attention_mask=mask, custom_generate=decoder, pad_token_id=0, eos_token_id=list(EOS), **settings
    )
    completion_ids = sequences[:, ids.size(1) :]
    ended = torch.isin(completion_ids, torch.tensor(EOS)).long()
    completion_mask = (ended.cumsum(dim=1) - ended == 0).long()
    return Batch(ids, mask, completion_ids, completion_mask, decoder.rollout)


def add_heads(model: PreTrainedModel) -> PreTrainedModel:
    """Patch the model as the trainer does."""
    add_fused_lm_head(model, temperature=TEMPERATURE)
    add_candidate_head(model, STRATEGY, temperature=TEMPERATURE)
    return model


def replay(model: PreTrainedModel, batch: Batch, **extra: Any) -> tuple[Tensor, Tensor]:
    """Log-probabilities of a batch's draws, and of the candidates at its thinking positions."""
    outputs = model(**batch.inputs, **extra, labels=batch.labels, rollout=batch.rollout, fused_lm_head=True)
    mixtures = batch.rollout.mixtures(batch.completion_ids)
    scores = surrogate(STRATEGY, outputs.candidate_logps, mixtures)
    logps = outputs.log_probs[:, -batch.completion_ids.size(1) :]
    return logps.masked_scatter(batch.rollout.thinking_mask, scores), outputs.candidate_logps


def tokens_lost_to_padding(model: PreTrainedModel, vocabulary: int) -> int:
    """How many tokens of the likeliest completions are other ones alone than in a ragged batch."""
    batch = decode(model, *prompts(vocabulary), do_sample=False)
    lost = 0
    for row in (0, 1):
        one = batch.alone(row)
        again = decode(model, one.prompt_ids, one.prompt_mask, do_sample=False).completion_ids
        lost += int((again != one.completion_ids).sum()) if again.shape == one.completion_ids.shape else NEW_TOKENS
    return lost


def takes_fast_path(model: PreTrainedModel, vocabulary: int) -> bool:
    """Whether rollouts expand and drop rows of the family's cache."""
    ids, mask = prompts(vocabulary)
    answers: list[bool] = []
    preallocate = forward_pass.preallocate

    def asked(cache: Any) -> bool:
        answers.append(preallocate(cache))
        return answers[-1]

    forward_pass.preallocate = asked
    try:
        decode(model, ids, mask, max_new_tokens=1)
    finally:
        forward_pass.preallocate = preallocate
    return answers == [True]


def gap_to_generation(model: PreTrainedModel, batch: Batch, **extra: Any) -> float:
    """How far replayed draws are from generated ones."""
    with torch.no_grad():
        logps, _ = replay(model, batch, **extra)
    return _largest(_apart(logps, batch.rollout.logps)[batch.drawn])


def gap_to_alone(model: PreTrainedModel, batch: Batch) -> float:
    """How far a row's draws, replayed alone, are from those replayed in the ragged batch."""
    with torch.no_grad():
        together, _ = replay(model, batch)
        return max(_gap_of_row(model, batch, together, row) for row in (0, 1))


def _gap_of_row(model: PreTrainedModel, batch: Batch, together: Tensor, row: int) -> float:
    one = batch.alone(row)
    logps, _ = replay(model, one)
    return _largest(_apart(logps, together[row, : logps.size(1)])[one.drawn])


def gap_to_full_logits(model: PreTrainedModel, batch: Batch, **extra: Any) -> tuple[float, float]:
    """How far candidates' log-probabilities are from the whole vocabulary's, and their gradients from one another.

    Gradients are compared as a share of the largest.
    """
    weights = torch.randn(batch.rollout.mixtures(batch.completion_ids).candidate_ids.shape)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    gradients = partial(torch.autograd.grad, inputs=parameters, allow_unused=True, materialize_grads=True)

    _, candidate_logps = replay(model, batch, **extra)
    expected = full_candidate_logps(model, batch, **extra)

    gap = _largest(candidate_logps - expected)
    pairs = zip(gradients((candidate_logps * weights).sum()), gradients((expected * weights).sum()), strict=True)
    largest, difference = 0.0, 0.0
    for ours, theirs in pairs:
        largest, difference = max(largest, _largest(theirs)), max(difference, _largest(ours - theirs))
    return gap, difference / max(largest, 1e-12)


def full_candidate_logps(model: PreTrainedModel, batch: Batch, **extra: Any) -> Tensor:
    """The recorded candidates' log-probabilities, out of a softmax over the model's own logits."""
    start = batch.prompt_ids.size(1) - 1
    with override_embeddings(model) as override:
        override.inputs = batch.rollout.inputs
        logits = model(**batch.inputs, **extra).logits[:, start:-1]
    logps = (logits.float() / TEMPERATURE).log_softmax(dim=-1)
    thinking = batch.rollout.thinking_mask
    return logps[thinking].gather(-1, batch.rollout.mixtures(batch.completion_ids).candidate_ids)


def share_of_weights_moved(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    *,
    router_loss: bool = True,
    **overrides: Any,
) -> tuple[float, float]:
    """The share of the parameters that one training step has changed, and the gap between replay and generation."""
    config = MoTGRPOConfig(
        output_dir=str(folder),
        strategy="dirichlet",
        max_steps=1,
        per_device_train_batch_size=4,
        num_generations=2,
        max_completion_length=6,
        max_mixture_tokens=3,
        stop_text="!",
        learning_rate=1e-2,
        beta=0.0,
        router_aux_loss_coef=None if router_loss else 0.0,
        bf16=False,
        use_cpu=True,
        disable_dropout=True,
        gradient_checkpointing=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        logging_steps=1,
    )
    before = [parameter.detach().clone() for parameter in model.parameters()]
    settings: dict[str, Any] = {"train_dataset": text_prompts(), "processing_class": tokenizer, **overrides}
    trainer = MoTGRPOTrainer(model, [seldom], config, **settings)
    trainer.train()
    after = [parameter.detach() for parameter in trainer.model.parameters()]
    if not all(parameter.isfinite().all() for parameter in after):
        raise FloatingPointError("A weight is not finite after the step.")
    moved = [not torch.equal(old, new) for old, new in zip(before, after, strict=True)]
    gaps = [entry["mixture/log_prob_gap"] for entry in trainer.state.log_history if "mixture/log_prob_gap" in entry]
    return sum(moved) / len(moved), max(gaps)


def text_prompts() -> Dataset:
    """Two chats of different lengths."""
    chats = [[{"role": "user", "content": text}] for text in ("Hi", "Count to ten")]
    return Dataset.from_dict({"prompt": chats})


def seldom(completions: list[Any], **_: Any) -> list[float]:
    """A reward that differs within each group."""
    return [float(index % 2) for index, _ in enumerate(completions)]


def _apart(logps: Tensor, others: Tensor) -> Tensor:
    """Differences in nats, as shares of what is larger than one nat: a density of 50 has no fifth digit in float32."""
    return (logps - others) / others.abs().clamp(min=1.0)


def _largest(tensor: Tensor) -> float:
    """Infinite where anything is not a number."""
    return tensor.abs().nan_to_num(nan=torch.inf).max().item() if tensor.numel() else 0.0
