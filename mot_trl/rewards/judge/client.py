"""Ask the judge's server within a deadline: cache, concurrency and caps around the openai client's own retries."""

import asyncio
import logging
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from mot_trl.rewards.judge.cache import VerdictCache
from mot_trl.rewards.judge.prompt import JudgeRequest, read_reply, read_verdict

logger = logging.getLogger(__name__)

_QUOTA_WORDS = ("insufficient_quota", "billing", "credit")
_CHARACTERS_PER_TOKEN = 3


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
            may_be_zero = name in ("retries", "max_calls", "max_tokens")
            if value is not None and (value < 0 or (value == 0 and not may_be_zero)):
                kind = "negative" if may_be_zero else "zero or negative"
                raise ValueError(f"`{name}` must not be {kind}; got {value}.")


@dataclass
class Endpoint:
    """Where the judge is and how to ask it; safe to pickle, print and log, as it only names the key's variable."""

    model: str
    base_url: str | None
    api_key_env: str
    request_options: Mapping[str, Any]
    is_plain: bool = False  # whether the server is known to refuse what the plain form leaves out

    def __post_init__(self) -> None:
        """Check the address, and that OpenAI's own service has a key."""
        if self.base_url is None and not os.environ.get("OPENAI_BASE_URL") and not self.key():
            raise ValueError(
                f"The judge {self.model!r} at api.openai.com needs a key in ${self.api_key_env}; "
                "for a local server give `base_url`, such as 'http://localhost:8000/v1'."
            )
        parts = urlsplit(self.base_url or "http://localhost")
        _ = parts.port  # raises ValueError unless it is one
        # Clients log the URL, so it must hold no password; nor is it quoted here, where it may hold one.
        if parts.scheme not in ("http", "https") or not parts.netloc or "@" in parts.netloc:
            raise ValueError(f"`base_url` must be like 'http://localhost:8000/v1'; a key goes to ${self.api_key_env}.")

    def key(self) -> str:
        """The key, or "". Stripped: a line break at its end, as environment files leave, would spoil the header."""
        return os.environ.get(self.api_key_env, "").strip()

    def body(self, request: JudgeRequest, *, plain: bool, max_reply_tokens: int) -> dict[str, Any]:
        """The JSON of a chat-completions request; `plain` leaves out what some servers and models refuse."""
        fields = {"model": self.model, "messages": request.messages(), "max_completion_tokens": max_reply_tokens}
        strict = {} if plain else {"temperature": 0, "response_format": request.response_format()}
        return {k: v for k, v in (fields | strict | dict(self.request_options)).items() if v is not None}


@dataclass
class Batch:
    """One call of the reward: rows, deadline, counts, and the way to ask the judge."""

    completions: Sequence[Any]
    problems: Sequence[Mapping[str, str]]
    endpoint: Endpoint
    limits: Limits
    cache: VerdictCache
    totals: Counter[str]  # the counts since the start, which the caps apply to
    until: float  # the deadline, on the monotonic clock
    counts: Counter[str] = field(default_factory=Counter)
    _failures_in_a_row: int = 0

    @property
    def seconds_left(self) -> float:
        """Seconds to the deadline."""
        return self.until - time.monotonic()

    def count(self, **amounts: float) -> None:
        """Add to the counts."""
        self.counts.update(amounts)
        self.totals.update(amounts)

    async def ask(self, requests: Mapping[Any, JudgeRequest]) -> dict[Any, float]:
        """The verdicts that are cached or come in time, by the requests' names. Equal requests cost one call."""
        keys = {name: request.key(self.endpoint.model) for name, request in requests.items()}
        errors = self.cache.errors
        known = await asyncio.to_thread(self.cache.get, keys.values())
        unknown = {key: requests[name] for name, key in keys.items() if key not in known}
        fresh = await self._ask_server(unknown) if unknown else {}
        cacheable = {key: verdict for key, verdict in fresh.items() if unknown[key].cacheable}
        await asyncio.to_thread(self.cache.put, cacheable)
        hits = sum(key in known for key in keys.values())
        self.count(cache_hits=hits, cache_errors=self.cache.errors - errors)
        return {name: (known | fresh)[key] for name, key in keys.items() if key in known or key in fresh}

    async def _ask_server(self, requests: Mapping[str, JudgeRequest]) -> dict[str, float]:
        places = asyncio.Semaphore(self.limits.concurrency)
        tasks: dict[str, asyncio.Task[float | None]] = {}
        try:
            async with asyncio.timeout(self.seconds_left), self._connect() as client, asyncio.TaskGroup() as group:
                for key, request in requests.items():
                    tasks[key] = group.create_task(self._verdict(client, request, places))
        except TimeoutError:
            self.count(late=sum(task.cancelled() for task in tasks.values()))
        verdicts = {key: task.result() for key, task in tasks.items() if not task.cancelled()}
        return {key: verdict for key, verdict in verdicts.items() if verdict is not None}

    async def _verdict(self, client: Any, request: JudgeRequest, places: asyncio.Semaphore) -> float | None:
        """Ask, and once more in the plain form if the first is refused or its reply is no verdict."""
        refused = self.endpoint.is_plain
        for plain in (True,) if refused else (False, True):
            body = self.endpoint.body(request, plain=plain, max_reply_tokens=self.limits.max_reply_tokens)
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
                logger.info("A question to the judge failed with %s.", type(error).__name__)
                self._failures_in_a_row += 1
                self.count(failures=1)
                return None
            verdict = self._read(content, request, body)
            if verdict is not None:
                # Only a verdict shows that the form was at fault, and not a prompt that is too long, say.
                self.endpoint.is_plain = refused
                return verdict
        return None

    def _read(self, content: bytes, request: JudgeRequest, body: Mapping[str, Any]) -> float | None:
        is_completion, text, prompt_tokens, completion_tokens = read_reply(content)
        # A server that counts no tokens must not escape the cap, so they are guessed.
        asked = sum(len(message["content"]) for message in body["messages"])
        self.count(prompt_tokens=prompt_tokens or asked // _CHARACTERS_PER_TOKEN)
        self.count(completion_tokens=completion_tokens or len(text or "") // _CHARACTERS_PER_TOKEN)
        # A page that is no chat completion (a proxy's, a wrong address's) is the server's failure, not the model's.
        self._failures_in_a_row = 0 if is_completion else self._failures_in_a_row + 1
        verdict = read_verdict(text, request.verdicts)
        self.count(unreadable=verdict is None)
        return verdict

    def _connect(self) -> Any:
        """An openai client for this batch alone: connections serve one event loop and must not survive a fork."""
        import httpx2
        import openai

        batch = self

        class Http(httpx2.AsyncClient):
            # Called for each of the openai client's tries.
            async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
                batch._start_try(is_retry=request.headers["x-stainless-retry-count"] != "0")
                try:
                    # httpx's own time limit is for each read, which a dripping body never exceeds.
                    async with asyncio.timeout(batch.limits.try_seconds):
                        response = await super().send(request, **options)
                except TimeoutError:
                    raise httpx2.ReadTimeout("The judge took too long.", request=request) from None
                if response.is_error and batch._is_hopeless(response.status_code, response.text, response.headers):
                    response.headers["x-should-retry"] = "false"
                return response

        return openai.AsyncOpenAI(
            api_key=self.endpoint.key() or "none",  # an empty key, as of local servers, is refused
            base_url=self.endpoint.base_url,
            max_retries=self.limits.retries,
            timeout=self.limits.try_seconds,
            http_client=Http(limits=httpx2.Limits(), follow_redirects=True),
        )

    def _start_try(self, *, is_retry: bool) -> None:
        # Checked before each try, as a retry must not pass a cap either.
        spent = self.totals["prompt_tokens"] + self.totals["completion_tokens"]
        caps = ((self.totals["calls"], self.limits.max_calls), (spent, self.limits.max_tokens))
        if any(cap is not None and used >= cap for used, cap in caps):
            raise _NoCallError("capped")
        if self._failures_in_a_row >= self.limits.failures:
            raise _NoCallError("skipped")
        self.count(calls=1, retries=is_retry)

    def _is_hopeless(self, status: int, text: str, headers: Mapping[str, str]) -> bool:
        """Whether a retry of the openai client's would be no use, or come after the deadline."""
        try:
            is_late = float(headers.get("retry-after", 0)) >= self.seconds_left
        except ValueError:  # an HTTP date, or nonsense: rare enough to give up
            is_late = True
        return is_late or (status == 429 and any(word in text.lower() for word in _QUOTA_WORDS))
