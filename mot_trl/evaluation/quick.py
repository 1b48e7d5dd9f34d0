"""How well a model solves a task's rows, and how many ways its thinking keeps open."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mot_trl.evaluation.statistics import Estimate, estimate
from mot_trl.generation.generate import generate
from mot_trl.strategies import Strategy

Reward = Callable[..., list[float]]


class Measurement(NamedTuple):
    """Figures of the rows of one task.

    Attributes:
        accuracy: Mean reward, with its interval over rows.
        surprisal: Mean of minus the log-likelihood (nats) of a draw while thinking; of ordinary tokens, an unbiased
            estimate of the entropy that thinking has at each token.
    """

    accuracy: Estimate
    surprisal: float


def evaluate_accuracy(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Mapping[str, Any]],
    reward: Reward,
    *,
    strategy: Strategy | str = "one_token",
    batch_size: int = 256,
    max_new_tokens: int = 64,
    seed: int = 0,
) -> dict[str, Measurement]:
    """The figures of one completion a row, for each `task` among the rows, and for "all" rows together.

    Torch's own generator, and whether the model is in training, are afterwards as before.
    """
    was_training = model.training
    model.eval()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        generation = generate(
            model,
            tokenizer,
            [row["prompt"] for row in rows],
            strategy=strategy,
            batch_size=batch_size,
            max_new_tokens=max_new_tokens,
        )
    model.train(was_training)
    messages = [[{"role": "assistant", "content": text}] for text in generation.texts]
    rewards = torch.tensor(reward(completions=messages, answer=[row["answer"] for row in rows]))
    rollout = generation.rollout
    thinking = rollout.thinking_mask
    found = {}
    for name in dict.fromkeys(["all", *(row["task"] for row in rows)]):
        own = torch.tensor([name in ("all", row["task"]) for row in rows])
        surprisal = -rollout.logps[own][thinking[own]].mean().item()
        found[name] = Measurement(estimate(rewards[own].tolist(), seed=seed), surprisal)
    return found


def table(measured: Mapping[str, Mapping[str, Measurement]]) -> str:
    """Accuracies with their intervals in Markdown: a row a task, a column a measurement."""
    heads = " | ".join(measured)
    lines = [f"| task | {heads} |", "| --- |" + " --- |" * len(measured)]
    for task in next(iter(measured.values())):
        cells = (each[task].accuracy for each in measured.values())
        lines.append(f"| {task} | " + " | ".join(f"{a.mean:.2f} ({a.low:.2f} to {a.high:.2f})" for a in cells) + " |")
    return "\n".join(lines)
