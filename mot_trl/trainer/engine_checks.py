"""Refuse, when a configuration is made, what the engine that it asks for cannot do with mixtures."""

from collections.abc import Mapping
from copy import copy
from typing import Any

from transformers import GenerationConfig
from transformers.generation import ContinuousBatchingConfig

from mot_trl.engines.continuous_batching import check_batching
from mot_trl.generation.ignored_settings import IGNORED, check_generation_config, check_settings

# What nobody has tried with vLLM is refused rather than believed.
TRIED = {
    "vllm_model_impl": "vllm",
    "vllm_structured_outputs_regex": None,
}
NOT_HONORED = {"seed", "structured_outputs", "logprobs", "n"}

# What TRL's calls of transformers' `generate` leave without effect, beside what the decoder ignores.
IGNORED_IN_TRAINING = {
    **IGNORED,
    "max_length": "TRL sets `max_new_tokens`, to `max_completion_length`",
    "num_return_sequences": "TRL repeats each prompt `num_generations` times",
    "stop_strings": "TRL passes `generate` no tokenizer to look for them with",
}


def check_engine(args: Any) -> None:
    """Check the fields of a `MoTGRPOConfig` that choose what generates.

    Raises:
        ValueError: Mixtures do not go together with a field; the message names it.
    """
    without = "set `normal_generation=True` to train without mixtures."
    if args.use_transformers_continuous_batching:
        _check_continuous_batching(args)
    if not args.use_vllm:
        if args.vllm_engine_kwargs:
            raise ValueError("`vllm_engine_kwargs` is for vLLM's engine; set `use_vllm=True` too, or leave it out.")
        _check_generation_kwargs(args)
        return
    for name, value in TRIED.items():
        if getattr(args, name) != value:
            raise ValueError(
                f"With mixtures, vLLM takes `{name}={value!r}` alone, not {getattr(args, name)!r}; {without}"
            )
    if args.vllm_mode == "server" and args.vllm_engine_kwargs:
        raise ValueError(
            "`vllm_engine_kwargs` is for an engine in the trainer's process; give a server's to `mot-trl vllm-serve`."
        )
    if not isinstance(args.vllm_engine_kwargs or {}, dict):
        raise TypeError(
            f"`vllm_engine_kwargs` must be a dict, or JSON on the command line: {args.vllm_engine_kwargs!r}."
        )
    if foreign := sorted(NOT_HONORED & set(args.generation_kwargs or {})):
        raise ValueError(
            f"`generation_kwargs` holds {foreign}, which vLLM does not honor with mixtures; leave it out. The "
            "config's `seed` seeds the engine."
        )


def _check_generation_kwargs(args: Any) -> None:
    given = args.generation_kwargs or {}
    check_settings({"cache_implementation": args.cache_implementation, **given}, IGNORED_IN_TRAINING)
    # A `GenerationConfig` keeps a name that it does not know, and nothing reads it.
    if unknown := sorted(set(given) - set(vars(GenerationConfig()))):
        raise ValueError(f"`generation_kwargs` holds {unknown}, which transformers' `GenerationConfig` does not know.")


def check_own_generation(config: GenerationConfig, generation_kwargs: Mapping[str, Any]) -> None:
    """Check a model's own generation config, from which `generate` takes what TRL's `generation_kwargs` leave open.

    Raises:
        ValueError: It asks for what mixtures, or TRL's calls of `generate`, cannot do.
    """
    both = copy(config)
    both.update(**{name: value for name, value in generation_kwargs.items() if value is not None})
    check_generation_config(both)
    of_calls = ("num_return_sequences", "stop_strings", "token_healing")
    check_settings({name: getattr(both, name) for name in of_calls}, IGNORED_IN_TRAINING)


def _check_continuous_batching(args: Any) -> None:
    check_batching(ContinuousBatchingConfig(**(args.transformers_continuous_batching_config or {})))
    if args.use_vllm:
        raise ValueError(
            "`use_vllm` and `use_transformers_continuous_batching` are two engines; leave one of them out."
        )
    if args.max_completion_length is None:
        raise ValueError("Continuous batching with mixtures needs a `max_completion_length`.")
    if args.repetition_penalty != 1.0:
        raise ValueError("transformers' continuous batching would drop `repetition_penalty`; leave it at 1.")


def check_own_strategy(args: Any) -> None:
    """Refuse a strategy that is an object, where it would have to be named to a server.

    Raises:
        ValueError: A vLLM server generates.
    """
    if args.use_vllm and args.vllm_mode == "server":
        raise ValueError(
            "A vLLM server knows strategies by their names; instead of an object give `strategy` and "
            '`strategy_kwargs` in the config, or use `vllm_mode="colocate"`.'
        )
