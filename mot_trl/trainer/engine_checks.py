"""Refuse, when a configuration is made, what the engine that it asks for cannot do with mixtures."""

from typing import Any

# What nobody has tried with vLLM is refused rather than believed.
TRIED = {
    "vllm_mode": "colocate",
    "vllm_tensor_parallel_size": 1,
    "vllm_model_impl": "vllm",
    "vllm_structured_outputs_regex": None,
}
NOT_HONORED = {"seed", "structured_outputs", "logprobs", "n"}


def check_engine(args: Any) -> None:
    """Check the fields of a `MoTGRPOConfig` that choose what generates.

    Raises:
        ValueError: Mixtures do not go together with a field; the message names it.
    """
    without = "set `normal_generation=True` to train without mixtures."
    if args.use_transformers_continuous_batching:
        raise ValueError(
            "Mixtures need the model's embeddings at every step, so `use_transformers_continuous_batching` must be "
            f"False; {without}"
        )
    if not args.use_vllm:
        if args.vllm_engine_kwargs:
            raise ValueError("`vllm_engine_kwargs` is for vLLM's engine; set `use_vllm=True` too, or leave it out.")
        return
    for name, value in TRIED.items():
        if getattr(args, name) != value:
            raise ValueError(
                f"With mixtures, vLLM takes `{name}={value!r}` alone, not {getattr(args, name)!r}; {without}"
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
