"""Configuration of `MoTGRPOTrainer`: TRL's `GRPOConfig`, and fields for mixtures, presets and traces."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from transformers.utils import is_torch_bf16_gpu_available
from trl import GRPOConfig

from mot_trl.generation.config import DecoderConfig, resolve, spell_out
from mot_trl.strategies import STRATEGIES
from mot_trl.strategies.presets import PRESETS
from mot_trl.strategies.surrogate import LogProbType
from mot_trl.trainer.engine_checks import check_engine

DECODER_FLAGS = ("experiment_name", "mixture_k", "loss_on_all_tokens", *(each.name for each in fields(DecoderConfig)))
"""Fields of `MoTGRPOConfig` that describe the decoder."""


def flag(help_text: str, default: Any = None) -> Any:
    """Make a field that is a command-line flag."""
    return field(default=default, metadata={"help": help_text})


@dataclass
class MoTGRPOConfig(GRPOConfig):
    """TRL's `GRPOConfig` with mixtures; TRL's fields keep their names and meanings.

    The preset that `experiment_name` names comes first, and what is given explicitly overrides it: field by field, and
    option by option. A strategy other than the preset's starts from its own defaults instead of the preset's options
    and score. Without a preset, the defaults are those of `DecoderConfig`.

    Raises:
        ValueError: A strategy, preset, score or option is unknown or out of range, or a setting of TRL's cannot go
            together with mixtures.
    """

    # transformers reads these from the command line as JSON.
    _VALID_DICT_FIELDS = [*GRPOConfig._VALID_DICT_FIELDS, "strategy_kwargs", "vllm_engine_kwargs"]  # noqa: RUF012

    # None stands for "not given", so that a preset can be told from an explicit value; `__post_init__` fills it in.
    experiment_name: str | None = flag(f"Preset of the fields below. One of: {', '.join(sorted(PRESETS))}.")
    strategy: str | None = flag(
        f"How mixtures are drawn (default {DecoderConfig.strategy}), with options or without (`top_k:k=5`). One of: "
        f"{', '.join(sorted(STRATEGIES))}."
    )
    strategy_kwargs: dict | str | None = flag("Options of the strategy; those left out are the preset's or its own.")
    mixture_k: int | None = flag("Candidates in a mixture: the option `k` (default: the strategy's own).")
    mixture_score: LogProbType | None = flag(
        "Log-probability in the loss: `density` of the draw, `expected` over the candidates, or that of the `visible` "
        f"token (default {DecoderConfig.mixture_score})."
    )
    loss_on_all_tokens: bool = flag("The same as `mixture_score=expected`.", False)
    # The baseline within the same script: everything else about the run stays.
    normal_generation: bool = flag("No mixtures at all: exactly TRL's generation and loss.", False)

    # When thinking begins and ends; the first rule to fire ends it.
    stop_text: str | None = flag(f"Text that ends the thinking (default {DecoderConfig.stop_text}).")
    start_text: str | None = flag("Text after which thinking begins; by default it begins at once.")
    restart_text: str | None = flag("Text after which it begins again once it has ended; by default it never does.")
    max_mixture_tokens: int | None = flag("Thinking budget in tokens; `stop_text` is forced once it is spent.")
    max_total_mixture_tokens: int | None = flag("The same for all turns of a conversation with tools together.")
    cold_stop_threshold: float | None = flag("Entropy in nats below which thinking counts as cold; off by default.")
    cold_stop_patience: int | None = flag(
        f"Cold steps in a row after which `stop_text` is forced (default {DecoderConfig.cold_stop_patience})."
    )

    vllm_engine_kwargs: dict | str | None = flag(
        "Further arguments of vLLM's engine with `use_vllm`, such as `enforce_eager` or `max_num_batched_tokens`."
    )
    # Off only to compare: the numbers are the same, and memory and time grow with the prompts.
    share_prompts: bool = flag("Read each distinct prompt of a micro-batch once in the training pass.", True)
    # `benchmarks/traces.py` measures what these defaults cost.
    trace_steps: int = flag("Steps between traces of the mixtures, in `output_dir`/traces; 0 for none.", 50)
    trace_samples: int = flag("Completions in a trace.", 16)
    resume_with_changes: bool = flag(
        "Resume from a checkpoint although its strategy, k, score or phases differ from these.", False
    )

    def __post_init__(self) -> None:
        """Resolve the preset and check everything that needs no model."""
        self._check_dicts()
        # accelerate would start several processes on a CPU, and none of them would know of the others. With FSDP they
        # do, and it does not take the flag.
        if not torch.accelerator.is_available() and os.environ.get("ACCELERATE_USE_FSDP") != "true":
            self.use_cpu = True
        # TRL's default is bfloat16 on every machine, and transformers refuses it where there is none.
        if self.bf16 is None and not is_torch_bf16_gpu_available():
            self.bf16 = False
        super().__post_init__()
        # Resolving refuses a strategy or an option that does not exist, before any model is loaded.
        for name, value in as_flags(resolve(given_settings(vars(self)))).items():
            setattr(self, name, value)
        # A budget as long as the completion would force the tag after the last token: no answer, no reward, ever.
        given: Any = self.generation_kwargs or {}
        longest = given.get("max_new_tokens", self.max_completion_length)
        if self.max_mixture_tokens is not None and longest is not None and self.max_mixture_tokens >= longest:
            raise ValueError(
                f"`max_mixture_tokens={self.max_mixture_tokens}` leaves no room for an answer within {longest} "
                "tokens; lower it, or raise `max_completion_length` (or `max_new_tokens` of `generation_kwargs`)."
            )
        if self.trace_steps < 0 or self.trace_samples < 1:
            raise ValueError(
                f"`trace_steps={self.trace_steps}` must be 0 (no traces) or more, and "
                f"`trace_samples={self.trace_samples}` at least 1."
            )
        if not self.normal_generation:
            check_engine(self)

    def _check_dicts(self) -> None:
        for name in self._VALID_DICT_FIELDS:
            if isinstance(text := getattr(self, name), str) and text.lstrip().startswith("{"):
                try:
                    json.loads(text)
                except json.JSONDecodeError as error:
                    raise ValueError(f"`{name}` is no JSON ({error}): {text!r}; write it as '{{\"k\": 3}}'.") from None

    @property
    def decoder(self) -> DecoderConfig:
        """The decoder that the fields describe."""
        named = {each.name: getattr(self, each.name) for each in fields(DecoderConfig)}
        return DecoderConfig.from_dict({**named, "strategy_kwargs": self.strategy_options})

    @property
    def strategy_options(self) -> dict[str, Any]:
        """Options of the strategy, `mixture_k` among them."""
        return given_settings(vars(self))["strategy_kwargs"]


def given_settings(flags: Mapping[str, Any]) -> dict[str, Any]:
    """What is given of `DECODER_FLAGS`, as a layer for `resolve`.

    Raises:
        ValueError: Two flags contradict one another, or `mixture_k` is below 1.
        TypeError: `strategy_kwargs` is text and no JSON.
    """
    given = {name: flags[name] for name in DECODER_FLAGS if flags.get(name) is not None}
    given = spell_out(given | {"strategy_kwargs": _read_options(given.get("strategy_kwargs", {}))})
    options = given["strategy_kwargs"]
    size = given.pop("mixture_k", None)
    if size is not None and size < 1:
        raise ValueError(f"`mixture_k={size}` must be at least 1.")
    if size is not None and options.get("k", size) != size:
        raise ValueError(f"`mixture_k={size}` and the option `k={options['k']}` differ; leave one of them out.")
    if given.pop("loss_on_all_tokens", False) and given.setdefault("mixture_score", "expected") != "expected":
        raise ValueError(
            "`loss_on_all_tokens` means `mixture_score='expected'`, but "
            f"`mixture_score={given['mixture_score']!r}` is set; leave one of them out."
        )
    return given | {"strategy_kwargs": options | ({} if size is None else {"k": size})}


def as_flags(decoder: DecoderConfig) -> dict[str, Any]:
    """The fields of `MoTGRPOConfig` that describe a decoder: as its own, with the number of candidates apart."""
    settings = decoder.to_dict()
    settings["strategy_kwargs"].pop("k", None)
    return settings | {"mixture_k": decoder.complete().strategy_kwargs["k"]}


def _read_options(options: dict[str, Any] | str) -> dict[str, Any]:
    """Options as a dict; a command line gives them as JSON."""
    try:
        read = json.loads(options) if isinstance(options, str) else options
    except json.JSONDecodeError:
        read = None
    if not isinstance(read, dict):
        raise TypeError(f"`strategy_kwargs` must be a dict, or JSON on the command line: {options!r}.")
    return read
