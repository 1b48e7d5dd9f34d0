"""vLLM's entry point: registers a model class that thinks in mixtures for each architecture that was tried."""

ARCHITECTURES = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
PREFIX = "Mixture"
SETTINGS = "mot_trl"
"""The decoder's settings in vLLM's `additional_config`."""
PROBES = "mot_trl_probes"
"""Whether each thought draws its probe too, in the same place."""

RECORD = "mixture_record"
"""In a request to the server, under `vllm_xargs`: asks for the records; in a choice of its response: the record."""
DECODER_ROUTE = "/mot_trl/decoder"
"""Where the server says how it thinks: the decoder's settings."""


def register() -> None:
    """Register the classes under names of their own, so that other engines of the process stay as they are."""
    from vllm import ModelRegistry  # ty: ignore[import-not-found]

    for name in ARCHITECTURES:
        ModelRegistry.register_model(PREFIX + name, f"mot_trl.engines.vllm_model:{PREFIX}{name}")
