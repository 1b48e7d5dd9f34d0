"""What a decode step launches, for each strategy: operations, kernels, host syncs, and milliseconds.

Operations are PyTorch's, with those that they call. Kernels and syncs are 0 on a CPU, which has neither.
"""

import time
from collections.abc import Callable
from typing import Any

import torch
from results import DEVICE, write
from torch.profiler import ProfilerActivity, profile
from transformers import Qwen2Config, Qwen2ForCausalLM

from mot_trl import MixtureDecoder
from mot_trl.generation.phases import BudgetRule, Phases
from mot_trl.strategies import build_strategy

STRATEGIES = ("one_token", "top_k", "dirichlet", "gumbel_softmax")
# Two lengths, whose difference leaves the prompt's pass out.
SHORT, LONG = (16, 48) if DEVICE == "cuda" else (2, 6)
LAUNCHES = ("cudaLaunchKernel", "cuLaunchKernel")
SYNCS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")


def make_qwen() -> Qwen2ForCausalLM:
    """Random weights of Qwen2.5-1.5B's shape on a GPU, of a toy's on a CPU."""
    sizes: dict[str, Any] = {
        "vocab_size": 512,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
    if DEVICE == "cuda":
        sizes = {
            "vocab_size": 151936,
            "hidden_size": 1536,
            "intermediate_size": 8960,
            "num_hidden_layers": 28,
            "num_attention_heads": 12,
            "num_key_value_heads": 2,
        }
    config = Qwen2Config(**sizes, tie_word_embeddings=True, bos_token_id=None, eos_token_id=None, pad_token_id=0)
    with torch.device(DEVICE):
        model = Qwen2ForCausalLM(config)
    return model.to(torch.bfloat16 if DEVICE == "cuda" else torch.float32).eval()


def profiled(run: Callable[[], object]) -> dict[str, float]:
    """Counts and milliseconds of one run; its time is taken before, without the profiler."""
    run()
    _synchronize()
    start = time.perf_counter()
    run()
    host = time.perf_counter() - start
    _synchronize()
    total = time.perf_counter() - start
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if DEVICE == "cuda" else [])]
    with profile(activities=activities) as profiler:
        run()
        _synchronize()
    events = profiler.key_averages()
    return {
        "operations": sum(event.count for event in events if event.key.startswith("aten::")),
        "kernels": sum(event.count for event in events if event.key.startswith(LAUNCHES)),
        "syncs": sum(event.count for event in events if event.key in SYNCS),
        "host_ms": host * 1e3,
        "total_ms": total * 1e3,
    }


def _synchronize() -> None:
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    """Write a line for each strategy, and one for transformers' own `generate`."""
    model, rows = make_qwen(), 128 if DEVICE == "cuda" else 4
    input_ids = torch.randint(5, 500, (rows, 256 if DEVICE == "cuda" else 8), device=DEVICE)
    common = {"do_sample": True, "top_k": 0, "attention_mask": torch.ones_like(input_ids)}
    for name in ("transformers", *STRATEGIES):
        options = {} if name in ("transformers", "one_token") else {"k": 4}
        runs = []
        for length in (SHORT, LONG):
            custom = {}
            if name != "transformers":
                # A budget that is never spent: every row thinks at every step.
                phases = Phases((BudgetRule(10**6),), closing_ids=(3,))
                custom = {"custom_generate": MixtureDecoder(build_strategy(name, **options), phases)}
            settings = {**common, **custom, "max_new_tokens": length}
            runs.append(profiled(lambda settings=settings: model.generate(input_ids, **settings)))
        short, long = runs
        steps = LONG - SHORT
        write("step_profile", decoder=name, rows=rows, **{key: (long[key] - short[key]) / steps for key in short})


if __name__ == "__main__":
    main()
