"""An LLM as a TRL reward: it judges final answers, quality, or which completion is better."""

import importlib.util
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mot_trl.rewards.judge.cache import VerdictCache
from mot_trl.rewards.judge.client import Batch, Endpoint, Limits
from mot_trl.rewards.judge.correctness import Correctness
from mot_trl.rewards.judge.pairwise import score_pairs
from mot_trl.rewards.judge.rubric import score_quality

logger = logging.getLogger(__name__)

METRICS = (
    *("calls", "cache_hits", "prompt_tokens", "completion_tokens", "seconds", "cost"),
    *("failures", "retries", "unreadable", "late", "capped", "skipped", "errors", "cache_errors"),
    *("by_rules", "rejected", "unjudged", "canary_asked", "canary_alarm", "position_bias"),
)
"""Each is logged for every batch, as `<the reward's name>/<metric>`, so that all processes log the same."""


def judge_or(reward: Callable[..., Any], *, model: str | None, **settings: Any) -> Callable[..., Any]:
    """`reward`, or the `JudgeReward` of `model` if one is named: for a recipe's flag."""
    return reward if model is None else JudgeReward(model, **settings)


@dataclass(kw_only=True, eq=False)
class JudgeReward:
    """An async TRL reward in [0, 1]; None where the judge gave no verdict in time. Never raises for the server's sake.

    Three judges, by which the reward and its metrics are named: `judge` compares final answers with gold ones,
    `quality_judge` scores by a `rubric`, and `pairwise_judge` compares a prompt's completions with each other by it.

    Raises:
        ValueError: The arguments are invalid, or OpenAI's own service is meant and there is no key.
        ImportError: The package openai is missing.
        KeyError: In a call, the rows lack a column.
    """

    model: str = field(kw_only=False)  # its name on the server
    base_url: str | None = None  # such as "http://localhost:8000/v1"; None means $OPENAI_BASE_URL, else OpenAI's own
    api_key_env: str = "OPENAI_API_KEY"  # the variable with the key, which is sent to `base_url` and never kept
    request_options: Mapping[str, Any] = field(default_factory=dict)  # merged into requests; None removes a field
    gold_column: str = "answer"  # the dataset's column with the gold answers
    question_column: str | None = None  # the problem's, sent along; "prompt" sends its last message, None nothing
    rules_first: bool = True  # whether the math grader decides what it can, so that only its misses are sent
    rubric: str | None = None  # what makes a completion good
    pairwise: bool = False  # whether to compare completions by the rubric
    opponents: int = 2  # how many others each completion meets in a pairwise group
    opened: bool = False  # whether the chat template opens the thinking in the prompt; see `answer.answer_part`
    limits: Limits = field(default_factory=Limits)
    cache_path: str | os.PathLike[str] | None = None  # a sqlite file that processes may share; None is memory only
    canary_every: int | None = 20  # batches between two questions about another row's gold; None asks none
    prices: tuple[float, float] | None = None  # dollars for a million tokens in and out; gives the metric `cost`
    totals: Counter[str] = field(default_factory=Counter, init=False)  # the metrics' counts since the start

    def __post_init__(self) -> None:
        """Check the arguments; no connection is made yet."""
        if importlib.util.find_spec("openai") is None:
            raise ImportError('The judge needs the package openai: `pip install "mot-trl[judge]"`.')
        if self.pairwise and self.rubric is None:
            raise ValueError("A pairwise judge needs a `rubric` that says what is better.")
        if self.opponents < 1:
            raise ValueError(f"`opponents` must be at least 1; got {self.opponents}.")
        if self.canary_every is not None and self.canary_every < 1:
            raise ValueError(f"`canary_every` must be at least 1, or None; got {self.canary_every}.")
        # TRL names the reward's metrics by it.
        self.__name__ = "judge" if self.rubric is None else "pairwise_judge" if self.pairwise else "quality_judge"
        self.endpoint = Endpoint(self.model, self.base_url, self.api_key_env, self.request_options)
        self.cache = VerdictCache(self.cache_path)
        self._correctness = Correctness(self.rules_first, self.opened, self.canary_every)

    async def __call__(
        self, completions: list[Any], *, log_metric: Callable[[str, float], None] | None = None, **columns: Any
    ) -> list[float | None]:
        """One reward for each completion, in TRL's calling convention, in `limits.deadline` seconds or little more."""
        started = time.monotonic()
        columns["prompt"] = columns.pop("prompts", [])
        gold_column = self.gold_column if self.rubric is None else None
        for setting, name in (("gold_column", gold_column), ("question_column", self.question_column)):
            if name is not None and name not in columns:
                raise KeyError(f"`{setting}` is {name!r}; the rows have {sorted(columns)}.")
        problems: list[dict[str, str]] = [{}] * len(completions)
        if self.question_column is not None:
            problems = [{"problem": _last_message(problem)} for problem in columns[self.question_column]]
        until = started + self.limits.deadline
        batch = Batch(completions, problems, self.endpoint, self.limits, self.cache, self.totals, until)
        try:
            if self.rubric is None:
                rewards = await self._correctness.score(batch, columns[self.gold_column])
            elif self.pairwise:
                rewards = await score_pairs(batch, columns["prompt"], self.rubric, self.opponents, opened=self.opened)
            else:
                rewards = await score_quality(batch, self.rubric, opened=self.opened)
        except Exception as error:
            # An exception would end a training of days. Its text stays out of the log, as it may quote the key.
            logger.error("The judge failed with %s; its rewards are None.", type(error).__name__)
            batch.count(errors=1)
            rewards = [None] * len(completions)
        batch.count(seconds=time.monotonic() - started, unjudged=rewards.count(None))
        for price, tokens in zip(self.prices or (), ("prompt_tokens", "completion_tokens"), strict=False):
            batch.count(cost=price * batch.counts[tokens] / 1e6)
        if log_metric is not None:
            for name in METRICS:
                log_metric(f"{self.__name__}/{name}", float(batch.counts[name]))
        return rewards


def _last_message(problem: Any) -> str:
    is_chat = isinstance(problem, Sequence) and problem and isinstance(problem[-1], Mapping)
    return str(problem[-1].get("content", "") if is_chat else problem)
