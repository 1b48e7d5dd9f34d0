"""Complete puzzles of width under a decoder: accuracy, votes, and how many candidates each step mixes."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mot_trl.evaluation.sampling import call_reward
from mot_trl.evaluation.statistics import Estimate, estimate, majority_vote
from mot_trl.generation.config import DecoderConfig
from mot_trl.generation.generate import generate
from mot_trl.tasks import width


class Completed(NamedTuple):
    """What came of some rows.

    Attributes:
        shares: Share of correct completions, by row.
        votes: Whether the majority of a row's completions is correct; ties count in part.
        steps: Thinking steps of each completion, row by row.
        candidates: Effective number of candidates, `1 / sum w^2`, of each completion's steps; NaN after the last.
    """

    shares: list[float]
    votes: list[float]
    steps: torch.Tensor
    candidates: torch.Tensor


def complete(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Mapping[str, Any]],
    decoder: DecoderConfig,
    *,
    samples: int,
    greedy: bool = False,
    max_new_tokens: int = 16,
) -> Completed:
    """Complete each row `samples` times at temperature 1, or once with the likeliest tokens."""
    samples = 1 if greedy else samples
    built = decoder.build(tokenizer)
    # Every model is to draw with the same random numbers.
    torch.manual_seed(0)
    generation = generate(
        model.eval(),
        tokenizer,
        [row["prompt"] for row in rows],
        strategy=built.strategy,
        phases=built.phases,
        max_new_tokens=max_new_tokens,
        num_return_sequences=samples,
        do_sample=not greedy,
    )
    repeated = [row for row in rows for _ in range(samples)]
    scores = call_reward(width.correct_answer, generation.texts, repeated, generation.completion_ids.tolist())
    right = [score == 1 for score in scores]
    groups = [slice(at, at + samples) for at in range(0, len(right), samples)]
    thinking, weights = generation.rollout.thinking_mask, generation.rollout.log_weights.exp()
    return Completed(
        [sum(right[group]) / samples for group in groups],
        [majority_vote(generation.answers[group], right[group]) for group in groups],
        thinking.sum(dim=-1),
        (1 / weights.square().sum(dim=-1)).masked_fill(~thinking, torch.nan),
    )


def of_family(values: Sequence[float], rows: Sequence[Mapping[str, Any]], name: str) -> Estimate:
    """The mean over the rows of a family, with its interval."""
    return estimate([value for value, row in zip(values, rows, strict=True) if row["task"] == name])
