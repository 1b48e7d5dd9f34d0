"""One request to a chat-completions server: whatever happens, an `Answer`, in bounded time, without the key."""

import asyncio
import importlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import openai

_QUOTA = ("insufficient_quota", "billing", "credit")


class Answer(NamedTuple):
    """How a request went.

    `ok`: a 2xx with `body`. `refused`: the server objects to what was sent, as `complaint` says. `fatal`: asking again
    is no use (key, quota, address). `transient`: it may be, after `wait` seconds if the server named a time.
    """

    kind: Literal["ok", "refused", "fatal", "transient"]
    body: bytes = b""
    complaint: str = ""
    wait: float = 0.0


@dataclass(frozen=True)
class Address:
    """Where a judge is and which environment variable holds its key; safe to pickle, print and log.

    Raises ValueError where `base_url` holds a user name or password, which clients would log; or where OpenAI's own
    service is meant and the variable is empty.
    """

    model: str
    base_url: str | None = None
    api_key_env: str = "OPENAI_API_KEY"

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if self.base_url is not None:
            parts = urlsplit(self.base_url)
            _ = parts.port  # raises ValueError where it is none
            if parts.username or parts.password:
                raise ValueError(f"`base_url` must not hold a password; put the key into ${self.api_key_env}.")
            if parts.scheme not in ("http", "https") or not parts.netloc:
                raise ValueError(f"`base_url` must look like 'http://localhost:8000/v1'; got {self.base_url!r}.")
        elif not os.environ.get("OPENAI_BASE_URL") and not self.key():
            raise ValueError(
                f"The judge {self.model!r} at api.openai.com needs a key in ${self.api_key_env}; "
                "for a local server give `base_url`, such as 'http://localhost:8000/v1'."
            )

    def key(self) -> str:
        """The key, or "". Stripped: a line break at its end, as environment files leave, would spoil the header."""
        return os.environ.get(self.api_key_env, "").strip()


async def load() -> Any:
    """The package `openai`, imported in a thread: it takes a second, and the loop has other work."""
    return await asyncio.to_thread(importlib.import_module, "openai")


def connect(package: Any, address: Address, *, clients: int) -> "list[openai.AsyncOpenAI]":
    """As many clients for the running loop, of one connection each; `package` is what `load` gave."""
    import httpx2

    limits = httpx2.Limits(max_connections=1)
    certificates = httpx2.create_ssl_context()
    # The constructor refuses an empty key, which servers without one need not have.
    key = address.key() or "none"
    return [
        package.AsyncOpenAI(
            api_key=key,
            base_url=address.base_url,
            max_retries=0,
            # The package's own client closes itself when collected, in whatever loop then runs, and fails aloud.
            http_client=package.DefaultAsyncHttpx2Client(limits=limits, verify=certificates),
        )
        for _ in range(clients)
    ]


async def post(client: "openai.AsyncOpenAI", request: dict[str, Any], *, seconds: float) -> Answer:
    """Send one chat-completions request, once.

    The raw response is asked for: the package's typed ones raise half a dozen unrelated errors on odd bodies. Its time
    limits are for each read, which a dripping body never passes, so the whole request has one here.
    """
    import httpx2
    import openai

    try:
        async with asyncio.timeout(seconds):
            response = await client.post("/chat/completions", cast_to=httpx2.Response, body=request)
    except openai.APIStatusError as error:
        return _judge_status(error)
    except (openai.APIConnectionError, TimeoutError, OSError):
        return Answer("transient")
    except Exception:  # a key that is no header value, an address that is none: whatever it says may hold the key
        return Answer("fatal")
    return Answer("ok", body=response.content)


def _judge_status(error: "openai.APIStatusError") -> Answer:
    # Read, never logged: servers like to quote the key.
    said = f"{error.code} {error.param} {error.type} {error.message}"
    if error.status_code in (400, 415, 422, 501):
        return Answer("refused", complaint=said)
    if error.status_code == 429 and any(word in said.lower() for word in _QUOTA):
        return Answer("fatal")
    if error.status_code in (408, 409, 425, 429) or error.status_code >= 500:
        return Answer("transient", wait=_seconds(error.response.headers))
    return Answer("fatal")


def _seconds(headers: Any) -> float:
    try:
        return max(0.0, float(headers.get("retry-after", 0)))
    except ValueError:  # an HTTP date: rare enough to fall back on our own pace
        return 0.0
