"""Ask the judge's server within a deadline: cache, concurrency and caps around the openai client's own retries."""

import asyncio
import importlib.util
import logging
import os
import re
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from mot_trl.extras import install_hint
from mot_trl.rewards.judge.cache import VerdictCache
from mot_trl.rewards.judge.prompt import JudgeRequest, read_reply, read_verdict


class _NoCallError(Exception):
    """No request may be sent; the text is the metric that counts it."""


@dataclass(frozen=True)
class Limits:
    """What a judge may cost, in each training process; None is no cap."""

    deadline: float = 60.0  # seconds for a whole batch, rules and cache included
    try_seconds: float = 20.0  # seconds for one request
    concurrency: int = 32  # requests of a batch in flight at once
    retries: int = 2  # tries after the first for each question
    max_calls: int | None = None  # requests in this object's life
    max_tokens: int | None = None  # tokens in and out in this object's life, exceeded at most by those in flight
    max_reply_tokens: int = 512  # tokens of one reply; a reasoning judge needs a few thousand
    failures: int = 5  # failed questions in a row that end the batch

    def __post_init__(self) -> None:
        """Check the values."""
        for name, value in vars(self).items():
            bound = "at least 0" if name in ("retries", "max_calls", "max_tokens") else "more than 0"
            if value is not None and (value < 0 or (value == 0 and bound == "more than 0")):
                raise ValueError(f"`{name}` must be {bound}; got {value}.")


@dataclass(kw_only=True, eq=False)
class Judge:
    """A judge's settings and state; safe to pickle, print and log, as it only names the key's variable."""

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
    is_plain: bool = field(default=False, init=False)  # whether the server is known to refuse all but the plain form
    batches: int = field(default=0, init=False)
    seen_golds: deque[str] = field(default_factory=lambda: deque(maxlen=64), init=False)  # to make canaries of

    def __post_init__(self) -> None:
        """Check the arguments; no connection is made yet."""
        if importlib.util.find_spec("openai") is None:
            raise ImportError(f"The judge needs the package openai: {install_hint('judge')}")
        if self.pairwise and self.rubric is None:
            raise ValueError("A pairwise judge needs a `rubric` that says what is better.")
        for name, number in (("opponents", self.opponents), ("canary_every", self.canary_every)):
            if number is not None and number < 1:
                raise ValueError(f"`{name}` must be at least 1; got {number}.")
        self.__name__ = "judge" if self.rubric is None else "pairwise_judge" if self.pairwise else "quality_judge"
        self.limits = self.limits or Limits()
        self.cache = VerdictCache(self.cache_path)
        if self.base_url is None and not os.environ.get("OPENAI_BASE_URL") and not self.key():
            raise ValueError(
                f"The judge {self.model!r} at api.openai.com needs a key in ${self.api_key_env}; "
                "for a local server give `base_url`, such as 'http://localhost:8000/v1'."
            )
        parts = urlsplit(self.base_url or "http://localhost")
        # Clients log the URL, so it must hold no password, nor is it quoted here; `port` itself raises ValueError.
        if parts.scheme not in ("http", "https") or not parts.netloc or "@" in parts.netloc or parts.port == 0:
            raise ValueError(f"`base_url` must be like 'http://localhost:8000/v1'; a key goes to ${self.api_key_env}.")

    def key(self) -> str:
        """The key, or "". Stripped: a line break at its end, as environment files leave, would spoil the header."""
        return os.environ.get(self.api_key_env, "").strip()

    def body(self, request: JudgeRequest, *, plain: bool) -> dict[str, Any]:
        """The JSON of a chat-completions request; `plain` leaves out what some servers and models refuse."""
        fields = {"model": self.model, "messages": request.messages()}
        fields["max_completion_tokens"] = self.limits.max_reply_tokens
        strict = {} if plain else {"temperature": 0, "response_format": request.response_format()}
        return {k: v for k, v in (fields | strict | dict(self.request_options)).items() if v is not None}


@dataclass
class Batch:
    """One call of the reward: rows, deadline, counts, and the way to ask the judge."""

    judge: Judge
    completions: Sequence[Any]
    problems: Sequence[Mapping[str, str]]
    columns: Mapping[str, Any]  # the rows' other columns
    counts: Counter[str] = field(default_factory=Counter)
    started: float = field(default_factory=time.monotonic)
    _failures_in_a_row: int = 0

    @property
    def seconds_left(self) -> float:
        """Seconds to the deadline."""
        return self.started + self.judge.limits.deadline - time.monotonic()

    def count(self, **amounts: float) -> None:
        """Add to the counts."""
        self.counts.update(amounts)
        self.judge.totals.update(amounts)

    async def ask(self, requests: Mapping[Any, JudgeRequest]) -> dict[Any, float]:
        """The verdicts that are cached or come in time, by the requests' names. Equal requests cost one call."""
        keys = {name: request.key(self.judge.model) for name, request in requests.items()}
        cache, errors = self.judge.cache, self.judge.cache.errors
        known = await asyncio.to_thread(cache.get, keys.values())
        unknown = {key: requests[name] for name, key in keys.items() if key not in known}
        verdicts = known | (await self._ask_server(unknown) if unknown else {})
        fresh = {key: verdicts[key] for key, it in unknown.items() if key in verdicts and it.cacheable}
        await asyncio.to_thread(cache.put, fresh)
        self.count(cache_hits=sum(key in known for key in keys.values()), cache_errors=cache.errors - errors)
        return {name: verdicts[key] for name, key in keys.items() if key in verdicts}

    async def _ask_server(self, requests: Mapping[str, JudgeRequest]) -> dict[str, float]:
        places = asyncio.Semaphore(self.judge.limits.concurrency)
        tasks: dict[str, asyncio.Task[float | None]] = {}
        try:
            async with asyncio.timeout(self.seconds_left), self._connect() as client, asyncio.TaskGroup() as group:
                tasks = {k: group.create_task(self._verdict(client, it, places)) for k, it in requests.items()}
        except TimeoutError:
            self.count(late=sum(task.cancelled() for task in tasks.values()))
        return {k: v for k, task in tasks.items() if not task.cancelled() and (v := task.result()) is not None}

    async def _verdict(self, client: Any, request: JudgeRequest, places: asyncio.Semaphore) -> float | None:
        """Ask, and once more in the plain form if the first is refused or its reply is no verdict."""
        refused = self.judge.is_plain
        for plain in (True,) if refused else (False, True):
            body = self.judge.body(request, plain=plain)
            try:
                async with places:
                    # Raw bytes: the package's typed responses raise half a dozen unrelated errors on odd bodies.
                    content = await client.post("/chat/completions", cast_to=bytes, body=body)
            except _NoCallError as metric:
                self.count(**{str(metric): 1})
                return None
            except Exception as error:
                refused = getattr(error, "status_code", None) in (400, 415, 422, 501)
                if refused and not plain:
                    continue
                # By its type only: servers like to quote the key.
                logging.getLogger(__name__).info("A question to the judge failed with %s.", type(error).__name__)
                self._failures_in_a_row += 1
                self.count(failures=1)
                return None
            verdict = self._read(content, request, body)
            if verdict is not None:
                # Only a verdict shows that the form was at fault, and not a prompt that is too long, say.
                self.judge.is_plain = refused
                return verdict
        return None

    def _read(self, content: bytes, request: JudgeRequest, body: Mapping[str, Any]) -> float | None:
        is_completion, text, prompt_tokens, completion_tokens = read_reply(content)
        # A server that counts no tokens must not escape the cap, so they are guessed, at three characters each.
        prompt_tokens = prompt_tokens or sum(len(message["content"]) for message in body["messages"]) // 3
        completion_tokens = completion_tokens or len(text or "") // 3
        # A page that is no chat completion (a proxy's, a wrong address's) is the server's failure, not the model's.
        self._failures_in_a_row = 0 if is_completion else self._failures_in_a_row + 1
        verdict = read_verdict(text, request.verdicts)
        self.count(prompt_tokens=prompt_tokens, completion_tokens=completion_tokens, unreadable=verdict is None)
        return verdict

    def _connect(self) -> Any:
        """An openai client for this batch alone: connections serve one event loop and must not survive a fork."""
        import httpx2
        import openai

        batch = self

        class Http(httpx2.AsyncClient):
            async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
                batch._start_try(is_retry=request.headers["x-stainless-retry-count"] != "0")
                try:
                    # httpx's own time limit is for each read, which a dripping body never exceeds.
                    async with asyncio.timeout(batch.judge.limits.try_seconds):
                        response = await super().send(request, **options)
                except TimeoutError:
                    raise httpx2.ReadTimeout("The judge took too long.", request=request) from None
                if response.is_error and batch._is_hopeless(response):
                    response.headers["x-should-retry"] = "false"
                return response

        return openai.AsyncOpenAI(
            api_key=self.judge.key() or "none",  # an empty key, as of local servers, is refused
            base_url=self.judge.base_url,
            max_retries=self.judge.limits.retries,
            timeout=self.judge.limits.try_seconds,
            http_client=Http(limits=httpx2.Limits(), follow_redirects=True),
        )

    def _start_try(self, *, is_retry: bool) -> None:
        # Before each of the openai client's tries, as a retry must not pass a cap either.
        spent = self.judge.totals["prompt_tokens"] + self.judge.totals["completion_tokens"]
        caps = ((self.judge.totals["calls"], self.judge.limits.max_calls), (spent, self.judge.limits.max_tokens))
        if any(cap is not None and used >= cap for used, cap in caps):
            raise _NoCallError("capped")
        if self._failures_in_a_row >= self.judge.limits.failures:
            raise _NoCallError("skipped")
        self.count(calls=1, retries=is_retry)

    def _is_hopeless(self, response: Any) -> bool:
        """Whether a retry of the openai client's would be no use, or come after the deadline."""
        if response.status_code == 429 and re.search("(?i)insufficient_quota|billing|credit", response.text):
            return True
        try:
            return float(response.headers.get("retry-after", 0)) >= self.seconds_left
        except ValueError:  # an HTTP date, or nonsense: rare enough to give up
            return True
