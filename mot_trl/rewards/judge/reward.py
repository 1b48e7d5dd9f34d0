"""An LLM as a TRL reward: any OpenAI-compatible server judges answers, quality, or which completion is better."""

import asyncio
import importlib.util
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mot_trl.rewards.judge.cache import VerdictCache
from mot_trl.rewards.judge.client import Batch, JudgeClient, Limits
from mot_trl.rewards.judge.correctness import Answers
from mot_trl.rewards.judge.pairwise import Pairs
from mot_trl.rewards.judge.plan import MissingColumnError, Plan, Purpose
from mot_trl.rewards.judge.prompt import Question
from mot_trl.rewards.judge.rubric import Quality
from mot_trl.rewards.judge.transport import Address

__all__ = ["METRICS", "JudgeReward", "Limits", "judge_or"]

logger = logging.getLogger(__name__)

METRICS = (
    *("calls", "cache_hits", "prompt_tokens", "completion_tokens", "seconds", "cost"),
    *("failures", "retries", "unreadable", "late", "capped", "circuit_open", "errors", "cache_errors"),
    *("by_rules", "rejected", "unjudged", "canary_asked", "canary_alarm", "position_bias"),
)
"""Each is logged for every batch as `<the reward's name>/<metric>`, so that all processes log the same."""


def judge_or(reward: Callable[..., Any], *, model: str | None, **settings: Any) -> Callable[..., Any]:
    """A `JudgeReward` of `model`, with `settings`, where one is named; else `reward`: for a recipe's flag."""
    return reward if model is None else JudgeReward(model, **settings)


class JudgeReward:
    """An async TRL reward in [0, 1]; None for whatever the judge could not settle in time. Never raises at run time.

    Three judges in one class; rewards and metrics bear their names. `judge`, without `rubric`: is the final answer the
    gold one (`judge_answers.Answers`)? `quality_judge`, with it: how well does the completion meet it
    (`judge_quality.Quality`)? `pairwise_judge`, with it and `pairwise`: which completions of a prompt meet it better
    than the others (`judge_pairs.Pairs`)?

    Args:
        model: the model's name on the server.
        base_url: the server, such as "http://localhost:8000/v1"; None means $OPENAI_BASE_URL, else OpenAI's own.
        api_key_env: the environment variable with the key, which is sent to `base_url` and is never kept, pickled or
            logged. Local servers need none.
        gold_column: the data set's column with the gold answers.
        question_column: the column with the problem or task, sent along; "prompt" sends the prompt's last message,
            None nothing.
        rules_first: let the maths grader decide what it can; only its misses are sent.
        rubric: what makes a completion good.
        pairwise: compare the completions of a prompt with each other.
        opponents: how many others each completion meets in a pairwise group.
        opened: whether the chat template opens the thinking in the prompt (see `extract.answer_part`).
        limits: deadlines, caps and concurrency.
        cache_path: a sqlite file for verdicts, which runs and processes may share; None keeps them in memory only.
        canary_every: batches between two canaries, in which the judge is asked about another row's gold answer; if it
            says "correct", the metric `canary_alarm` is 1 and a warning is logged. None asks none.
        prices: dollars for a million tokens in and for a million out; gives the metric `cost`.

    Raises ValueError for settings that cannot be, and ImportError where `openai` is missing. A call raises KeyError
    where a column is missing, as the first batch shows.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key_env: str = "OPENAI_API_KEY",
        gold_column: str = "answer",
        question_column: str | None = None,
        rules_first: bool = True,
        rubric: str | None = None,
        pairwise: bool = False,
        opponents: int = 2,
        opened: bool = False,
        limits: Limits | None = None,
        cache_path: str | os.PathLike[str] | None = None,
        canary_every: int | None = 20,
        prices: tuple[float, float] | None = None,
    ) -> None:
        """Make no connection yet."""
        if importlib.util.find_spec("openai") is None:
            raise ImportError('The judge needs the package openai: `pip install "mot-trl[judge]"`.')
        if pairwise and rubric is None:
            raise ValueError("A pairwise judge needs a `rubric` that says what is better.")
        if opponents < 1:
            raise ValueError(f"`opponents` must be at least 1; got {opponents}.")
        if canary_every is not None and canary_every < 1:
            raise ValueError(f"`canary_every` must be at least 1, or None; got {canary_every}.")
        self.limits = limits or Limits()
        # TRL names the reward's metrics by it.
        self.__name__ = "judge"
        self.purpose: Purpose = Answers(gold_column, question_column, rules_first, opened)
        if rubric is not None and pairwise:
            self.__name__, self.purpose = "pairwise_judge", Pairs(rubric, opponents, question_column, opened)
        elif rubric is not None:
            self.__name__, self.purpose = "quality_judge", Quality(rubric, question_column, opened)
        self.cache = VerdictCache(cache_path)
        self.canary_every = canary_every
        self.prices = prices
        self._client = JudgeClient(Address(model, base_url, api_key_env), self.limits)
        self._batches = 0

    @property
    def totals(self) -> Counter[str]:
        """All counts since the start, by the metrics' names."""
        return self._client.totals

    async def __call__(
        self,
        completions: Sequence[Any],
        *,
        prompts: Sequence[Any] = (),
        log_metric: Callable[[str, float], None] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """One reward for each completion, in TRL's calling convention, in `limits.deadline` seconds or little more."""
        until = time.monotonic() + self.limits.deadline
        batch = self._client.batch(until=until, questions=len(completions))
        started = time.monotonic()
        try:
            rewards = await self._judge(completions, {"prompt": prompts, **columns}, batch)
        except MissingColumnError:
            raise
        except Exception as error:
            # An exception here would end a training of days. Its text stays out of the log: it may quote the key.
            logger.error("The judge failed with %s; its rewards are None.", type(error).__name__)
            batch.count(errors=1)
            rewards = [None] * len(completions)
        batch.count(seconds=time.monotonic() - started, unjudged=rewards.count(None))
        self._report(batch, log_metric)
        return rewards

    async def _judge(self, completions: Sequence[Any], columns: Mapping[str, Any], batch: Batch) -> list[float | None]:
        cache_errors = self.cache.errors
        # In a thread: the maths grader takes up to seconds for a hostile expression.
        plan = await asyncio.to_thread(self.purpose.plan, completions, columns, until=batch.until)
        batch.count(**plan.counts)
        canary = self._canary(plan)
        keys = [question.key(self._client.address.model) for question in plan.questions]
        known = await asyncio.to_thread(self.cache.get, keys)
        batch.count(cache_hits=sum(key in known for key in keys))
        unknown = {key: question for key, question in zip(keys, plan.questions, strict=True) if key not in known}
        fresh = await self._client.ask_all(unknown | canary, batch)
        for key in canary:
            self._sound(fresh.pop(key, None), batch)
        await asyncio.to_thread(self.cache.put, fresh)
        verdicts = [(known | fresh).get(key) for key in keys]
        batch.count(cache_errors=self.cache.errors - cache_errors, **plan.measure(verdicts))
        return plan.settle(verdicts)

    def _canary(self, plan: Plan) -> dict[str, Question]:
        """This batch's canary, if it is its turn, under a key that no cache holds."""
        self._batches += 1
        due = self.canary_every is not None and self._batches % self.canary_every == 0
        return {f"canary {self._batches}": plan.canary} if due and plan.canary is not None else {}

    def _sound(self, verdict: float | None, batch: Batch) -> None:
        if verdict is None:
            return
        batch.count(canary_asked=1, canary_alarm=verdict)
        if verdict > 0:
            logger.warning("The judge called another problem's answer correct: its verdicts cannot be trusted.")

    def _report(self, batch: Batch, log_metric: Callable[[str, float], None] | None) -> None:
        if self.prices is not None:
            paid = zip(self.prices, ("prompt_tokens", "completion_tokens"), strict=True)
            batch.count(cost=sum(price * batch.counts[tokens] for price, tokens in paid) / 1e6)
        if log_metric is None:
            return
        for name in METRICS:
            log_metric(f"{self.__name__}/{name}", float(batch.counts[name]))
