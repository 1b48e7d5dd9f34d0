"""`mot-trl vllm-serve MODEL [--strategy S] [flags of vllm serve]`: vLLM's server, thinking in mixtures."""

import json
import os
import sys
from contextlib import suppress
from typing import Any

from mot_trl.commands.flags import CommandParser, at_least, model_name, read_names, strategy_word

SCORES = read_names("strategies/surrogate.py", "LogProbType")
SETTINGS: dict[str, dict[str, Any]] = {
    "strategy": {"type": strategy_word, "help": "such as dirichlet or top_k:k=5; default: the model's own"},
    "mixture_score": {"choices": SCORES, "help": "log-probability of a mixture in the records"},
    "stop_text": {"help": "text that ends the thinking"},
    "start_text": {"help": "text after which thinking begins; default: at once"},
    "restart_text": {"help": "text after which thinking begins again"},
    "max_mixture_tokens": {"type": at_least(1), "help": "thinking budget in tokens"},
    "max_total_mixture_tokens": {"type": at_least(1), "help": "the same for all turns of a conversation together"},
    "cold_stop_threshold": {"type": float, "help": "entropy in nats below which thinking is cold"},
    "cold_stop_patience": {"type": at_least(1), "help": "cold steps in a row that end the thinking"},
}
"""Flags of the decoder, by the names of its config's fields."""


def main(arguments: list[str]) -> int:
    """Check that model, decoder and vLLM go together, and become `vllm serve`."""
    parser = CommandParser(
        prog="mot-trl vllm-serve",
        description="Serve a model that thinks in mixtures: to TRL's trainer, and by the OpenAI-compatible API.",
        epilog="All other flags are those of `vllm serve`, such as --port, --dtype or --tensor-parallel-size.",
        allow_abbrev=False,
    )
    parser.add_argument("model", type=model_name, help="folder or hub name of a model")
    for name, settings in SETTINGS.items():
        parser.add_argument(f"--{name}", *{f"--{name.replace('_', '-')}"} - {f"--{name}"}, **settings)
    trainer = "no trainer: leave out the endpoints that replace the weights"
    parser.add_argument("--inference_only", "--inference-only", action="store_true", help=trainer)
    options, vllm_flags = parser.parse_known_args(arguments)
    given = {name: value for name in SETTINGS if (value := getattr(options, name)) is not None}
    own, environment = _mixture_flags(options.model, given, vllm_flags), dict(os.environ)
    if not options.inference_only:
        # As TRL's trainer wants it, which sends its weights by these endpoints.
        own += ["--weight-transfer-config", '{"backend": "nccl"}']
        environment["VLLM_SERVER_DEV_MODE"] = "1"
    command = [sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", options.model, *vllm_flags, *own]
    sys.stdout.flush()
    os.execve(sys.executable, command, environment)


def _mixture_flags(model: str, settings: dict[str, Any], vllm_flags: list[str]) -> list[str]:
    """The flags of `vllm serve` that make it think as `settings` say, over the decoder that the model carries."""
    from transformers import AutoTokenizer, GenerationConfig

    from mot_trl.engines.vllm import check_version, engine_arguments
    from mot_trl.engines.vllm_plugin import PROBES
    from mot_trl.generation.config import TRAINED, decoder_for

    tokenizer: Any = AutoTokenizer.from_pretrained(model)
    carried = None
    with suppress(OSError):  # a checkpoint need not have one
        carried = GenerationConfig.from_pretrained(model).to_dict().get("mixture")
    decoder = decoder_for(settings.pop("strategy", TRAINED), carried, path=model).override(settings)
    decoder.build(tokenizer)  # which may be unable to write one of the texts
    given = [flag.partition("=")[0][2:].replace("-", "_") for flag in vllm_flags if flag.startswith("--")]
    own = engine_arguments(model, decoder, given, trust_remote_code="trust_remote_code" in given)
    own["additional_config"][PROBES] = True  # a trainer's KL term may want them, and they are drawn anyway
    own["middleware"] = "mot_trl.engines.vllm_server.MixtureMiddleware"
    check_version()
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in own.items()}
    return [f"--{name.replace('_', '-')}={text}" for name, text in texts.items()]
