"""Middleware of vLLM's OpenAI-compatible server: refuses what mixtures cannot honor, and adds records to responses.

A request with `vllm_xargs={"mixture_record": 1}` gets, in each choice, its record as text, which `from_texts` reads.
`GET /mot_trl/decoder` says how the server thinks. Everything else is vLLM's.
"""

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from contextvars import ContextVar
from typing import Any

from starlette.datastructures import MutableHeaders  # ty: ignore[import-not-found]
from starlette.responses import JSONResponse  # ty: ignore[import-not-found]
from vllm.sampling_params import RequestOutputKind  # ty: ignore[import-not-found]

from mot_trl.engines.vllm import NO_MIXTURES, check_params
from mot_trl.engines.vllm_plugin import DECODER_ROUTE, RECORD, SETTINGS
from mot_trl.engines.vllm_records import RecordShape, read_records, to_text, token_logprobs

# Of the HTTP request at hand: a list for each prompt, which gets the records of its completions.
_records: ContextVar[list[list[str]]] = ContextVar("records")


class MixtureMiddleware:
    """Wraps vLLM's app, and the `generate` of its engine from when the server starts."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve a request, or start the server: not with an engine that thinks in plain tokens."""
        if scope["type"] == "lifespan" and (problem := await self._start(scope["app"].state.engine_client)):
            await send({"type": "lifespan.startup.failed", "message": problem})
        elif scope["type"] != "http":
            await self.app(scope, receive, send)
        elif scope["path"] == DECODER_ROUTE:
            config = scope["app"].state.engine_client.vllm_config
            await JSONResponse(config.additional_config[SETTINGS])(scope, receive, send)
        else:
            _records.set([])
            await self.app(scope, receive, _Reply(send, _records.get()).send)

    async def _start(self, engine: Any) -> str | None:
        if not all(await engine.collective_rpc("thinks_in_mixtures")):
            return NO_MIXTURES
        self.shape = RecordShape(*(await engine.collective_rpc("record_shape"))[0])
        self.generate, engine.generate = engine.generate, self._generate
        return None

    def _generate(self, prompt: Any, sampling_params: Any, *args: Any, **kwargs: Any) -> AsyncGenerator[Any]:
        """The engine's `generate`; an error is one of the client's."""
        check_params(sampling_params)
        if sampling_params.logprobs:
            raise ValueError(
                f"A mixture has no `top_logprobs`: ask for 0, or for its record with `vllm_xargs={{'{RECORD}': 1}}`."
            )
        if not (sampling_params.extra_args or {}).get(RECORD):
            return self.generate(prompt, sampling_params, *args, **kwargs)
        if sampling_params.output_kind != RequestOutputKind.FINAL_ONLY or sampling_params.prompt_logprobs is not None:
            raise ValueError(
                f"`{RECORD}` comes with a whole response, and without the prompt's log-probabilities; leave out "
                "`stream`, and `logprobs` with `echo`."
            )
        sampling_params.logprobs, sampling_params.flat_logprobs = self.shape.width - 1, True
        _records.get().append([])
        return self._recorded(self.generate(prompt, sampling_params, *args, **kwargs), _records.get()[-1])

    async def _recorded(self, outputs: AsyncGenerator[Any], kept: list[str]) -> AsyncGenerator[Any]:
        async with aclosing(outputs):
            async for output in outputs:
                for completion in output.outputs:
                    record = read_records([completion], self.shape)
                    kept.append(to_text(record))
                    completion.logprobs = token_logprobs(completion.token_ids, record.logps[0].tolist())
                yield output


class _Reply:
    """Holds a response back until it is whole, and adds the records, if there are any."""

    def __init__(self, send: Any, records: list[list[str]]) -> None:
        self._send, self._records = send, records
        self._start: Any = None
        self._body = b""

    async def send(self, message: Mapping[str, Any]) -> None:
        if not self._records:
            await self._send(message)
        elif message["type"] == "http.response.start":
            self._start = message
        else:
            self._body += message.get("body", b"")
            if not message.get("more_body"):
                await self._finish()

    async def _finish(self) -> None:
        reply = json.loads(self._body)
        records = [record for each in self._records for record in each]
        if "choices" in reply:  # else it is an error
            for choice, record in zip(reply["choices"], records, strict=True):
                choice[RECORD] = record
        body = json.dumps(reply).encode()
        MutableHeaders(raw=self._start["headers"])["content-length"] = str(len(body))
        await self._send(self._start)
        await self._send({"type": "http.response.body", "body": body})
