"""Thousands of requests through vLLM: the law of our own decoder, and nothing left behind."""

from typing import Any

import torch
from conftest import make_model
from distributions import NEW_TOKENS, PROMPT, ROWS, check_same_law, closing_decoder
from vllm_engines import needs_vllm, scheduler_of, state_of, tiny_engine

from mot_trl.engines.vllm import generate_with_record

pytestmark = needs_vllm


def held(llm: Any) -> dict[str, int]:
    """How much is kept of requests, whichever place they had."""
    state, scheduler, processor = state_of(llm), scheduler_of(llm), llm.llm_engine.output_processor
    sizes = {name: tensor.numel() for name, tensor in vars(state.slots).items() if isinstance(tensor, torch.Tensor)}
    kept = {"left": state.slots._left, "rows": state.slots._row_of, "indices": state._index_of}
    kept |= {"requests": scheduler.requests, "states": processor.request_states}
    return sizes | {name: len(each) for name, each in kept.items()}


def test_thousands_of_requests_follow_the_law_and_leave_nothing_behind() -> None:
    from vllm import SamplingParams

    model = make_model("llama", head_dim=32)
    decoder = closing_decoder(model, "dirichlet")
    llm = tiny_engine(max_num_seqs=ROWS // 4, max_num_batched_tokens=2048, max_model_len=32)
    llm.collective_rpc("use_decoder", args=(decoder,))
    settings = {"temperature": 1.0, "max_tokens": NEW_TOKENS}
    generate_with_record(llm, [PROMPT], SamplingParams(**settings, stop_token_ids=[2]))
    before = held(llm)

    ids, record = generate_with_record(llm, [PROMPT], SamplingParams(**settings, n=ROWS))

    check_same_law(model, decoder, ids, record.thinking_mask)
    generate_with_record(llm, [PROMPT], SamplingParams(**settings))  # vLLM tells of the last ones with the next
    assert held(llm) == before
