"""Asking a judge in bounded time: retries, caps, concurrency, in-flight de-duplication and a circuit breaker."""

import asyncio
import logging
import math
import os
import random
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from mot_trl.rewards.judge.breaker import CircuitBreaker
from mot_trl.rewards.judge.dialect import Dialect
from mot_trl.rewards.judge.prompt import Question, read_reply, read_verdict
from mot_trl.rewards.judge.transport import Address, Answer, connect, load, post

if TYPE_CHECKING:
    import openai

logger = logging.getLogger(__name__)

_FIRST_WAIT, _LONGEST_WAIT = 0.5, 8.0  # seconds between tries, doubled from the one to the other
_LOOK_AGAIN = 0.02  # seconds
_CHARACTERS_A_TOKEN = 3
_ADOPT_AFTER = 3


@dataclass(frozen=True)
class Limits:
    """What a judge may cost, for each training process.

    Args:
        deadline: seconds for a whole batch, rules and cache included.
        try_seconds: seconds for one request.
        concurrency: requests under way at once.
        retries: tries after the first for each question; and a batch retries no oftener than it has questions.
        max_calls: requests in this object's life; None for no cap.
        max_tokens: tokens in and out in this object's life, passed at most by the requests under way.
        max_reply_tokens: tokens of one reply; a reasoning judge needs a few thousand.
        failures: straight failures that open the circuit.
        rest: seconds an open circuit stays open, doubled with each failed probe up to 20 times.
    """

    deadline: float = 60.0
    try_seconds: float = 20.0
    concurrency: int = 32
    retries: int = 2
    max_calls: int | None = None
    max_tokens: int | None = None
    max_reply_tokens: int = 512
    failures: int = 5
    rest: float = 30.0

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        for name in ("deadline", "try_seconds", "concurrency", "max_reply_tokens", "failures", "rest"):
            if not getattr(self, name) > 0:
                raise ValueError(f"`{name}` must be positive; got {getattr(self, name)}.")
        for name in ("retries", "max_calls", "max_tokens"):
            if (getattr(self, name) or 0) < 0:
                raise ValueError(f"`{name}` must not be negative; got {getattr(self, name)}.")


@dataclass
class Batch:
    """One batch's clock, retry budget and counts, which are added to `totals` as they come."""

    until: float
    retries_left: int
    totals: Counter[str]
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def seconds_left(self) -> float:
        """Seconds to the deadline, by the monotonic clock."""
        return self.until - time.monotonic()

    def count(self, **amounts: float) -> None:
        """Add to the counts."""
        self.counts.update(amounts)
        self.totals.update(amounts)


class _Told(NamedTuple):
    verdict: float | None


class _Line(NamedTuple):
    """What belongs to one event loop; none of it can be used from another.

    Each client has one connection, so to hold a client is to hold one of the requests that may be under way. A common
    pool of 32 connections looks through all of them for each request, which costs a fifth of its time.
    """

    clients: "asyncio.LifoQueue[openai.AsyncOpenAI]"
    pending: dict[str, "asyncio.Future[_Told | None]"]


class JudgeClient:
    """Asks one model of one server. Never raises for what the server does; pickles as its settings."""

    def __init__(self, address: Address, limits: Limits) -> None:
        """Make no connection: each event loop gets its own, when it first asks."""
        self.address = address
        self.limits = limits
        self.totals: Counter[str] = Counter()
        self.dialect = Dialect()
        self.breaker = CircuitBreaker(threshold=limits.failures, rest=limits.rest, max_rest=20 * limits.rest)
        self._lines: dict[tuple[int, asyncio.AbstractEventLoop], _Line] = {}
        self._misread: Counter[Dialect] = Counter()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the settings only."""
        return JudgeClient, (self.address, self.limits)

    def batch(self, *, until: float, questions: int = 0) -> Batch:
        """A batch that ends at `until` on the monotonic clock."""
        return Batch(until, max(8, questions), self.totals)

    async def ask_all(self, questions: Mapping[str, Question], batch: Batch) -> dict[str, float]:
        """The verdicts that came in time, by key."""
        if not questions:
            return {}
        tasks = {asyncio.create_task(self.ask(key, question, batch)): key for key, question in questions.items()}
        try:
            await asyncio.wait(tasks, timeout=max(0.0, batch.seconds_left))
        finally:
            late = [task for task in tasks if not task.done()]
            batch.count(late=len(late))
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=1.0)
        ended = {key: task for task, key in tasks.items() if task.done() and not task.cancelled()}
        errors = Counter(type(error).__name__ for task in ended.values() if (error := task.exception()))
        if errors:
            batch.count(errors=errors.total())
            # By their types only: their texts may quote the key.
            logger.error("Asking the judge raised %s, which is a defect of this library.", dict(errors))
        verdicts = {key: task.result() for key, task in ended.items() if task.exception() is None}
        return {key: verdict for key, verdict in verdicts.items() if verdict is not None}

    async def ask(self, key: str, question: Question, batch: Batch) -> float | None:
        """The verdict on one question; asked once, however many want to know it at the same time."""
        line = await self._line()
        while key in line.pending:
            # Shielded: the one who waits may be cancelled, the one who asks not for that.
            told = await asyncio.shield(line.pending[key])
            if told is not None:
                return told.verdict
        line.pending[key] = waited_for = asyncio.get_running_loop().create_future()
        told = None
        try:
            client = await line.clients.get()
            try:
                told = _Told(await self._ask(client, question, batch))
            finally:
                line.clients.put_nowait(client)
            return told.verdict
        finally:
            # None where this asker was cancelled: the next one who waits asks in its place.
            del line.pending[key]
            waited_for.set_result(told)

    async def close(self) -> None:
        """Close the running loop's connections; the next question opens new ones."""
        line = self._lines.pop((os.getpid(), asyncio.get_running_loop()), None)
        while line is not None and not line.clients.empty():
            await line.clients.get_nowait().close()

    async def _line(self) -> _Line:
        # A forked child may run its parent's loop, but not share its sockets.
        place = os.getpid(), asyncio.get_running_loop()
        if place not in self._lines:
            package = await load()
            # No await from here on: another task may have been first, and must stay the only one.
            if place not in self._lines:
                self._lines = {at: line for at, line in self._lines.items() if not at[1].is_closed()}
                clients: asyncio.LifoQueue[openai.AsyncOpenAI] = asyncio.LifoQueue()
                for client in connect(package, self.address, clients=self.limits.concurrency):
                    clients.put_nowait(client)
                self._lines[place] = _Line(clients, {})
        return self._lines[place]

    async def _ask(self, client: "openai.AsyncOpenAI", question: Question, batch: Batch) -> float | None:
        dialect, tries, misread, admitted = self.dialect, 0, None, False
        # Once admitted, another wording goes straight out: it may belong to the probe that all others wait for.
        while await self._may_call(batch, admitted=admitted):
            admitted = True
            sent_at = time.monotonic()
            request = dialect.request(
                question, model=self.address.model, max_reply_tokens=self.limits.max_reply_tokens
            )
            answer = await self._post(client, request, batch)
            if answer.kind == "ok":
                verdict = self._read(question, request, answer, batch=batch, sent_at=sent_at)
                if verdict is not None:
                    self._learn(dialect, misread)
                    return verdict
                if misread is not None:
                    return None
                misread, dialect = dialect, dialect.simpler() or dialect
            elif answer.kind == "refused" and (simpler := dialect.simpler(answer.complaint)):
                dialect = simpler
            elif answer.kind != "transient" or not await self._wait(answer, tries, batch):
                batch.count(failures=1)
                self.breaker.failed(sent_at)
                return None
            else:
                tries, admitted = tries + 1, False
        return None

    async def _may_call(self, batch: Batch, *, admitted: bool) -> bool:
        while True:
            if batch.seconds_left <= 0:
                batch.count(late=1)
                return False
            spent = self.totals["prompt_tokens"] + self.totals["completion_tokens"]
            caps = ((self.totals["calls"], self.limits.max_calls), (spent, self.limits.max_tokens))
            if any(cap is not None and used >= cap for used, cap in caps):
                batch.count(capped=1)
                return False
            if admitted or self.breaker.try_call():
                return True
            # All others wait for a probe: if it succeeds, the whole batch is judged.
            if not self.breaker.is_probing:
                batch.count(circuit_open=1)
                return False
            await asyncio.sleep(_LOOK_AGAIN)

    async def _post(self, client: "openai.AsyncOpenAI", request: dict[str, Any], batch: Batch) -> Answer:
        batch.count(calls=1)
        sent_at = time.monotonic()
        try:
            return await post(client, request, seconds=min(self.limits.try_seconds, batch.seconds_left))
        except asyncio.CancelledError:
            self.breaker.failed(sent_at)
            raise

    def _read(
        self, question: Question, request: dict[str, Any], answer: Answer, *, batch: Batch, sent_at: float
    ) -> float | None:
        reply = read_reply(answer.body)
        # A server that counts no tokens must not escape the cap.
        texts = "".join(message["content"] for message in request["messages"]), reply.content or ""
        guesses = [len(text) // _CHARACTERS_A_TOKEN for text in texts]
        told = reply.prompt_tokens, reply.completion_tokens
        used = [guess if count is None else count for count, guess in zip(told, guesses, strict=True)]
        batch.count(prompt_tokens=used[0], completion_tokens=used[1])
        # A page that is no chat completion (a proxy's, a wrong address's) is the server's failure, not the model's.
        if reply.is_completion:
            self.breaker.succeeded()
        else:
            self.breaker.failed(sent_at)
        verdict = read_verdict(reply.content, question.verdicts)
        if verdict is None:
            batch.count(unreadable=1)
        return verdict

    async def _wait(self, answer: Answer, tries: int, batch: Batch) -> bool:
        """Pause before the next try; False where there shall be none."""
        pause = max(answer.wait, min(_FIRST_WAIT * 2**tries, _LONGEST_WAIT) * random.uniform(0.75, 1.0))
        spent = tries >= self.limits.retries or batch.retries_left <= 0 or self.breaker.is_open
        if spent or not math.isfinite(pause) or pause >= batch.seconds_left:
            return False
        batch.retries_left -= 1
        batch.count(retries=1)
        await asyncio.sleep(pause)
        return True

    def _learn(self, dialect: Dialect, misread: Dialect | None) -> None:
        """Keep to the dialect that was understood, if the preferred one was refused, or misread repeatedly."""
        if misread is None:
            self._misread.pop(dialect, None)
            self.dialect = dialect
            return
        self._misread[misread] += 1
        if self._misread[misread] >= _ADOPT_AFTER:
            self.dialect = dialect
