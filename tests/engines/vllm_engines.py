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
from torch import Tensor
from transformers import AutoModelForCausalLM

from mot_trl import DecoderConfig, MixtureDecoder, Rollout
from mot_trl.engines.vllm import load_engine
from mot_trl.generation.phases import Phases
from mot_trl.modeling.embedding import blend_of, override_embeddings
from mot_trl.strategies.surrogate import surrogate

needs_vllm = pytest.mark.skipif(find_spec("vllm") is None, reason="needs vLLM, which has an environment of its own")

END = 2
# Of different lengths, the last two longer than a chunk of 32 tokens.
PROMPTS = [[3 + (7 * i + j) % 250 for j in range(length)] for i, length in enumerate((5, 17, 40, 70))]


@lru_cache
def tiny_checkpoint() -> str:
    """A two-layer LLaMA far from uniform, with the tokenizer of one token a byte."""
    folder = Path(tempfile.mkdtemp(prefix="mot-trl-vllm-"))
    # vLLM's attention has no smaller heads.
    make_model("llama", head_dim=32).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return str(folder)


def tiny_engine(*, decoder: DecoderConfig | None = None, **settings: Any) -> Any:
    arguments = {"dtype": "float32", "enforce_eager": True, "max_model_len": 128, "max_num_seqs": 4, "seed": 0}
    arguments |= {"block_size": 32, "kv_cache_memory_bytes": 1 << 26}
    return load_engine(tiny_checkpoint(), decoder or DecoderConfig(), **{**arguments, **settings})


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
    """How far a draw's log-probability is from transformers' replay of the record (nats); phases must be the same."""
    model = AutoModelForCausalLM.from_pretrained(tiny_checkpoint(), dtype=dtype).eval()
    gaps = []
    for row, prompt in enumerate(prompts):
        length = completion_length(ids[row])
        visible, one = ids[row, :length], record.rows(row, row + 1).resize(length)
        with torch.no_grad(), override_embeddings(model, blend_of(decoder.strategy)) as override:
            override.inputs = one.inputs
            logits = model(input_ids=torch.cat([torch.tensor(prompt), visible])[None]).logits[0, len(prompt) - 1 : -1]
        logps = logits.float().log_softmax(dim=-1)
        check_phases(decoder.phases, visible, logps, one)
        want, thinking = logps.gather(-1, visible[:, None])[:, 0], one.thinking_mask[0]
        candidate_logps = logps.gather(-1, one.candidate_ids[0].long())[thinking]
        kind = decoder.mixture_score
        want[thinking] = surrogate(decoder.strategy, candidate_logps, one.mixtures(visible[None]), log_prob_type=kind)
        gaps.append((want - one.logps[0]).abs().masked_fill(one.forced_mask[0], 0.0))
    return torch.cat(gaps).max().item()


def completion_length(ids: Tensor) -> int:
    ends = (ids == END).nonzero()
    return int(ends[0]) + 1 if len(ends) else len(ids)


def check_phases(phases: Phases, visible: Tensor, logps: Tensor, record: Rollout) -> None:
    """Go through a completion again, and see that each token was thought, forced or plain as the rules say."""
    state = phases.begin(1, visible.device)
    for column in range(len(visible)):
        assert record.thinking_mask[0, column] == state.thinking[0], column
        token, forced, state = phases.force(state, visible[column : column + 1])
        assert record.forced_mask[0, column] == forced[0], column
        assert token == visible[column], column
        finished = torch.tensor([column == len(visible) - 1])
        state = phases.advance(state, token, logps[column : column + 1], finished)
    assert record.closed_by[0] == state.closed_by[0]
