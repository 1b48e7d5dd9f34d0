"""What a run resolved to, in five lines at its start: decoder, device, dtype, attention and engine."""

import json
from collections.abc import Mapping
from typing import Any

import torch


def summarize_run(trainer: Any, decoder: Mapping[str, Any]) -> str:
    """The lines of a `GRPOTrainer`; `decoder` is the config of its decoder as plain data."""
    device, processes = trainer.accelerator.device, trainer.accelerator.num_processes
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    weights = {str(each.dtype).removeprefix("torch.") for each in trainer.model.parameters()}
    mixed = {"no": "no mixed precision", "bf16": "computes in bfloat16", "fp16": "computes in float16"}
    precision = trainer.accelerator.mixed_precision
    return "\n".join(
        [
            f"Decoder: {json.dumps(decoder)}",
            f"Device: {device} ({name}), {processes} process{'es' if processes > 1 else ''}",
            f"Dtype: {', '.join(sorted(weights))} weights, {mixed.get(precision, precision)}",
            f"Attention: {trainer.model.config._attn_implementation}",
            f"Engine: {_engine(trainer.args)}",
        ]
    )


def _engine(args: Any) -> str:
    mixtures = "TRL's own, without mixtures" if args.normal_generation else "with mixtures"
    if args.use_vllm:
        return f"vLLM ({args.vllm_mode}), {mixtures}"
    batching = "continuous batching of " if args.use_transformers_continuous_batching else ""
    return f"{batching}transformers, {mixtures}"
