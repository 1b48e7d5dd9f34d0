"""vLLM engines for the tests: few, small, under pressure, with random weights: every position is a mixture."""

import tempfile
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import make_model, make_tokenizer
from replayed import replay_gap
from torch import Tensor
from transformers import AutoModelForCausalLM

from mot_trl import DecoderConfig, MixtureDecoder, Rollout
from mot_trl.engines.vllm import load_engine

needs_vllm = pytest.mark.skipif(find_spec("vllm") is None, reason="needs vLLM, which has an environment of its own")

# Of different lengths, the last two longer than a chunk of 32 tokens.
PROMPTS = [[3 + (7 * i + j) % 250 for j in range(length)] for i, length in enumerate((5, 17, 40, 70))]

SMALL = {
    "dtype": "float32",
    "enforce_eager": True,
    "max_model_len": 128,
    "max_num_seqs": 4,
    "seed": 0,
    "block_size": 32,
    "kv_cache_memory_bytes": 1 << 26,
}


@lru_cache
def tiny_checkpoint() -> str:
    """A two-layer LLaMA far from uniform, with the tokenizer of one token a byte."""
    folder = Path(tempfile.mkdtemp(prefix="mot-trl-vllm-"))
    # vLLM's attention has no smaller heads.
    make_model("llama", head_dim=32).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return str(folder)


def tiny_engine(*, decoder: DecoderConfig | None = None, **settings: Any) -> Any:
    return load_engine(tiny_checkpoint(), decoder or DecoderConfig(), **{**SMALL, **settings})


@lru_cache
def pressed_engine() -> Any:
    """An engine with few places, small chunks and too small a cache, which schedules ahead of its results."""
    return tiny_engine(async_scheduling=True, max_num_batched_tokens=32, num_gpu_blocks_override=9)


def engine_for(**settings: Any) -> tuple[Any, MixtureDecoder]:
    """The engine under pressure with another decoder."""
    llm, decoder = pressed_engine(), DecoderConfig.from_dict(settings).build(make_tokenizer())
    llm.reset_prefix_cache()
    llm.collective_rpc("use_decoder", args=(decoder,))
    torch.manual_seed(0)
    return llm, decoder


def state_of(llm: Any) -> Any:
    return llm.llm_engine.model_executor.driver_worker.model_runner.model_state


def scheduler_of(llm: Any) -> Any:
    return llm.llm_engine.engine_core.engine_core.scheduler


def largest_gap(
    decoder: MixtureDecoder,
    prompts: Sequence[Sequence[int]],
    ids: Tensor,
    record: Rollout,
    *,
    dtype: torch.dtype = torch.float32,
) -> float:
    """How far a draw's log-probability is from transformers' replay of the record (nats)."""
    model = AutoModelForCausalLM.from_pretrained(tiny_checkpoint(), dtype=dtype).eval()
    return replay_gap(model, decoder, prompts, ids, record)
