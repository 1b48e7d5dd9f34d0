"""TRL's client of a vLLM server that thinks in mixtures: checks that it does, and brings its records back."""

from typing import Any

from trl.generation.vllm_client import VLLMClient

from mot_trl.engines.vllm_plugin import DECODER_ROUTE, RECORD
from mot_trl.generation.config import DecoderConfig

ADVICE = "start it with `mot-trl vllm-serve MODEL --strategy ...`"


class MixtureClient(VLLMClient):
    """TRL's client, for a server that was started with `mot-trl vllm-serve`.

    Args:
        decoder: The trainer's.
        client_kwargs: As for TRL's client.

    Raises:
        ConnectionError: There is no server.
        ValueError: The server does not think in mixtures, or by other settings.
    """

    def __init__(self, decoder: DecoderConfig, **client_kwargs: Any) -> None:
        super().__init__(**client_kwargs)
        self._choices: list[dict[str, Any]] = []
        reply = self.session.get(self.base_url + DECODER_ROUTE)
        if reply.status_code == 404:
            raise ValueError(f"The vLLM server at {self.base_url} thinks in plain tokens; {ADVICE}.")
        reply.raise_for_status()
        theirs, own = (each.complete().to_dict() for each in (DecoderConfig.from_dict(reply.json()), decoder))
        if differing := [name for name in own if theirs[name] != own[name]]:
            words = "; ".join(f"`{name}` is {theirs[name]!r} there and {own[name]!r} here" for name in differing)
            raise ValueError(f"The vLLM server at {self.base_url} has another decoder ({words}); {ADVICE}.")

    def generate(self, prompts: Any, features: Any = None, **params: Any) -> dict[str, Any]:  # ty: ignore[incompatible-method-override]
        """Generate as TRL's client does, with a record as text for each completion under `logprob_token_ids`.

        TRL hands each process its share of these, as it does with tokens, and looks at none.

        Raises:
            ValueError: There are images.
            RuntimeError: The server sent no records.
        """
        if features is not None:
            raise ValueError("Images do not go together with mixtures on vLLM; leave `use_vllm` out.")
        given = params.pop("generation_kwargs", None) or {}
        extra = {**given, "vllm_xargs": {**given.get("vllm_xargs", {}), RECORD: 1}}
        params |= {"logprobs": None, "generation_kwargs": extra}
        output = super().generate(prompts, **params)
        records = [choice.get(RECORD) for choice in self._choices]
        if None in records:
            raise RuntimeError(
                f"The vLLM server at {self.base_url} sent no `{RECORD}`: something on the way takes it out, or "
                f"another server has taken its place; {ADVICE}."
            )
        return {**output, "logprob_token_ids": records}

    def _post(self, url: str, **kwargs: Any) -> dict[str, Any]:
        """Post as TRL's client does, and keep the choices with all that they hold."""
        reply = super()._post(url, **kwargs)
        self._choices = reply.get("choices", [])
        return reply
