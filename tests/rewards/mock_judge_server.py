"""A scripted chat-completions server on loopback: real HTTP, bounded in requests and in time."""

import argparse
import asyncio
import contextlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

MAX_REQUESTS = 5000
MAX_SECONDS = 600.0


@dataclass(frozen=True)
class Reply:
    """What the server does with one request."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json"
    delay: float = 0.0
    gate: asyncio.Event | None = None
    """Held back until it is set."""
    drip: float | None = None
    """Seconds between single bytes of the body."""
    cut: int | None = None
    """Reset the connection after this many bytes of the body."""


def says(content: Any, *, finish: str = "stop", usage: dict[str, int] | None = None, **settings: Any) -> Reply:
    """A well-formed completion with `content` as the assistant's message."""
    message = {"role": "assistant", "content": content}
    body = {
        "id": "mock",
        "object": "chat.completion",
        "created": 0,
        "model": "mock",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": usage or {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
    }
    return Reply(body=json.dumps(body).encode(), **settings)


def verdict(word: str, **settings: Any) -> Reply:
    """A well-formed structured verdict."""
    return says(json.dumps({"verdict": word}), **settings)


def error(status: int, message: str = "no", *, code: str | None = None, **settings: Any) -> Reply:
    """An error in OpenAI's form."""
    body = {"error": {"message": message, "type": "mock", "param": None, "code": code}}
    return Reply(status=status, body=json.dumps(body).encode(), **settings)


def told(request: dict[str, Any]) -> dict[str, str]:
    """The data of a judge request: the JSON object between the marks of its user message."""
    content = request["messages"][-1]["content"]
    found = re.search(r"\{.*\}", content, flags=re.DOTALL)
    assert found, content
    return json.loads(found.group())


def honest(request: dict[str, Any]) -> Reply:
    """A judge that compares the two strings, blind to capitals and to spaces at the ends."""
    data = told(request)
    same = data["reference"].strip().casefold() == data["answer"].strip().casefold()
    return verdict("correct" if same else "incorrect")


def gullible(_request: dict[str, Any]) -> Reply:
    """A judge that believes whatever it reads: every answer that reaches it is correct."""
    return verdict("correct")


@dataclass
class MockJudge:
    """The server's state: `behave` answers each request; what came in is kept in `requests` and `headers`."""

    behave: Callable[[dict[str, Any]], Reply]
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    most_at_once: int = 0
    port: int = 0
    _now: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection until either side closes it."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while len(self.requests) < MAX_REQUESTS:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                lines = head.split("\r\n")[1:]
                headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines if line)}
                request = json.loads(await reader.readexactly(int(headers["content-length"])))
                self.requests.append(request)
                self.headers.append(headers)
                self._now += 1
                self.most_at_once = max(self.most_at_once, self._now)
                try:
                    if not await _send(self.behave(request), writer):
                        break
                finally:
                    self._now -= 1
        writer.close()


async def _send(reply: Reply, writer: asyncio.StreamWriter) -> bool:
    """Write a reply; False where the connection was reset on purpose."""
    await asyncio.sleep(reply.delay)
    if reply.gate is not None:
        await reply.gate.wait()
    extra = "".join(f"{name}: {value}\r\n" for name, value in reply.headers)
    head = (
        f"HTTP/1.1 {reply.status} Mock\r\ncontent-type: {reply.content_type}\r\n"
        f"content-length: {len(reply.body)}\r\n{extra}\r\n"
    )
    if reply.cut is not None:
        writer.write(head.encode() + reply.body[: reply.cut])
        await writer.drain()
        writer.transport.abort()
        return False
    if reply.drip is None:
        writer.write(head.encode() + reply.body)
        await writer.drain()
        return True
    writer.write(head.encode())
    for byte in reply.body:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(reply.drip)
    return True


@contextlib.contextmanager
def serving(behave: Callable[[dict[str, Any]], Reply], *, port: int = 0) -> Iterator[MockJudge]:
    """Run a `MockJudge` in a thread on a free (or the given) port of 127.0.0.1 for the length of the block."""
    judge = MockJudge(behave)
    loop = asyncio.new_event_loop()
    ready = threading.Event()

    async def main() -> None:
        server = await asyncio.start_server(judge.serve, "127.0.0.1", port, backlog=512)
        judge.port = server.sockets[0].getsockname()[1]
        ready.set()
        try:
            await asyncio.sleep(MAX_SECONDS)
        finally:
            server.close()

    task = loop.create_task(main())

    def run() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            loop.run_until_complete(task)
        for pending in asyncio.all_tasks(loop):
            pending.cancel()
        loop.run_until_complete(asyncio.sleep(0.01))
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    if not ready.wait(5):
        raise RuntimeError("The mock judge did not start.")
    try:
        yield judge
    finally:
        with contextlib.suppress(RuntimeError):  # closed already, after MAX_SECONDS
            loop.call_soon_threadsafe(task.cancel)
        thread.join(5)


async def _main(delay: float) -> None:
    def behave(request: dict[str, Any]) -> Reply:
        reply = honest(request)
        return Reply(body=reply.body, delay=delay)

    server = await asyncio.start_server(MockJudge(behave).serve, "127.0.0.1", 0, backlog=512)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await asyncio.sleep(MAX_SECONDS)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--delay", type=float, default=0.05)
    asyncio.run(_main(parser.parse_args().delay))
