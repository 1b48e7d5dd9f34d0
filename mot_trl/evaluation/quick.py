"""Accuracy and mean NLL per task, from one completion per row: a quick look during or after training."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mot_trl.evaluation.report import markdown_table
from mot_trl.evaluation.sampling import Reward, Rows, call_reward
from mot_trl.evaluation.statistics import Estimate, estimate
from mot_trl.generation.generate import generate
from mot_trl.strategies import Strategy


class Measurement(NamedTuple):
    """Mean reward of a task's rows, and mean negative log-likelihood (nats) of a draw while thinking.

    For ordinary tokens, `mean_nll` is an unbiased estimate of the entropy per thinking token.
    """

    accuracy: Estimate
    mean_nll: float


def evaluate_accuracy(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Rows,
    reward: Reward,
    *,
    strategy: Strategy | str = "one_token",
    batch_size: int = 256,
    max_new_tokens: int = 64,
    seed: int = 0,
    **kwargs: Any,
) -> dict[str, Measurement]:
    """Complete every row once; measure each `task` among the rows, and "all" rows together.

    Torch's random state is restored. `kwargs` are those of `mot_trl.generate`.
    """
    # A training run must go on with the random numbers it would have drawn without this evaluation.
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        prompts = [row["prompt"] for row in rows]
        generation = generate(
            model,
            tokenizer,
            prompts,
            strategy=strategy,
            batch_size=batch_size,
            max_new_tokens=max_new_tokens,
            **kwargs,
        )
    rewards = call_reward(reward, generation.texts, rows, generation.completion_ids.tolist())
    logps, thinking = generation.rollout.logps, generation.rollout.thinking_mask
    found = {}
    for task in dict.fromkeys(["all", *(row["task"] for row in rows)]):
        own = [index for index, row in enumerate(rows) if task in ("all", row["task"])]
        mean_nll = -logps[own][thinking[own]].mean().item()
        # None means that the reward could not judge, which says nothing about the model.
        judged = [score for index in own if (score := rewards[index]) is not None]
        found[task] = Measurement(estimate(judged, seed=seed), mean_nll)
    return found


def accuracy_table(measured: Mapping[str, Mapping[str, Measurement]]) -> str:
    """Accuracies with their intervals as a Markdown table: one row per task, one column per measurement."""
    found = {task: [each[task].accuracy for each in measured.values()] for task in next(iter(measured.values()))}
    rows = [[task, *(f"{a.mean:.2f} ({a.low:.2f} to {a.high:.2f})" for a in row)] for task, row in found.items()]
    return markdown_table(["task", *measured], rows)
