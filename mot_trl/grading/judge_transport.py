"""One request to a chat-completions server: whatever happens, an `Answer`, in bounded time, without the key."""

import asyncio
import functools
import importlib
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import httpx2
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


@dataclass
class Connection:
    """One connection of one event loop to a judge, with what each of its requests repeats.

    The package's client is asked for the address and the headers, once. Its own requests cost more CPU than all the
    rest of a call: each builds options, headers and address anew, and wraps the response.
    """

    http: "httpx2.AsyncClient"
    client: "openai.AsyncOpenAI"

    @functools.cached_property
    def template(self) -> "httpx2.Request":
        """A request without content; raises where the key is no header value."""
        import httpx2

        client = self.client
        headers = httpx2.Headers(client.auth_headers)
        # What is not set stands there as an object of the package. Its telemetry tells of requests it never sends.
        told = {name: value for name, value in client.default_headers.items() if isinstance(value, str)}
        headers.update({name: value for name, value in told.items() if not name.lower().startswith("x-stainless")})
        template = self.http.build_request(
            "POST", f"{str(client.base_url).rstrip('/')}/chat/completions", headers=headers
        )
        del template.headers["content-length"]
        return template

    async def send(self, body: dict[str, Any]) -> "httpx2.Response":
        """The whole response to a chat-completions request, redirects followed, whatever its status."""
        import httpx2

        content = json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
        template, cookies = self.template, self.http.cookies
        request = httpx2.Request("POST", template.url, headers=template.headers, cookies=cookies, content=content)
        return await self.http.send(request)


def connect(package: Any, address: Address, *, connections: int) -> list[Connection]:
    """As many connections for the running loop; `package` is what `load` gave."""
    import httpx2

    limits = httpx2.Limits(max_connections=1)
    certificates = httpx2.create_ssl_context()
    # The package's own client closes itself when collected, in whatever loop then runs, and fails aloud.
    https = [package.DefaultAsyncHttpx2Client(limits=limits, verify=certificates) for _ in range(connections)]
    # The constructor refuses an empty key, which servers without one need not have.
    client = package.AsyncOpenAI(api_key=address.key() or "none", base_url=address.base_url, http_client=https[0])
    return [Connection(http, client) for http in https]


async def post(connection: Connection, request: dict[str, Any], *, seconds: float) -> Answer:
    """Send one chat-completions request, once.

    The client's time limits are for each read, which a dripping body never passes, so the whole request has one here.
    """
    import anyio
    import httpx2

    try:
        async with asyncio.timeout(seconds):
            response = await connection.send(request)
        if response.is_success:
            return Answer("ok", body=response.content)
        return _judge_status(response)
    # The last two: breaks of TLS that the client does not translate.
    except (httpx2.RequestError, TimeoutError, OSError, anyio.EndOfStream):
        return Answer("transient")
    except Exception:  # a key that is no header value, an address that is none: whatever it says may hold the key
        return Answer("fatal")


def _judge_status(response: "httpx2.Response") -> Answer:
    # Read, never logged: servers like to quote the key.
    said, status = _complaint(response.text), response.status_code
    if status in (400, 415, 422, 501):
        return Answer("refused", complaint=said)
    if status == 429 and any(word in said.lower() for word in _QUOTA):
        return Answer("fatal")
    if status in (408, 409, 425, 429) or status >= 500:
        return Answer("transient", wait=_seconds(response.headers))
    return Answer("fatal")


def _complaint(body: str) -> str:
    # Not all of the body: some servers quote the whole request, which names everything that it holds.
    try:
        read = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    error = read.get("error", read) if isinstance(read, dict) else None
    if not isinstance(error, dict):
        return ""
    return " ".join(str(error.get(name) or "") for name in ("code", "param", "type", "message"))


def _seconds(headers: Any) -> float:
    try:
        return max(0.0, float(headers.get("retry-after", 0)))
    except ValueError:  # an HTTP date: rare enough to fall back on our own pace
        return 0.0
