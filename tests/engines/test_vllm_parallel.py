"""Two tensor-parallel workers in processes of their own, which find the plug-in by its entry point."""

import os
from pathlib import Path

import pytest
import torch
from conftest import make_model, make_tokenizer
from most_likely import MostLikely
from vllm_engines import PROMPTS, largest_gap, needs_vllm, tiny_engine

from mot_trl import DecoderConfig, generate
from mot_trl.engines.vllm import generate_with_record

pytestmark = needs_vllm


HERE = Path(__file__).parent


def test_ranks_with_random_numbers_of_their_own_feed_the_same_mixtures(monkeypatch: pytest.MonkeyPatch) -> None:
    from vllm import SamplingParams

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE / "site"), str(HERE), os.environ["PYTHONPATH"]]))
    # A function goes to the workers pickled.
    monkeypatch.setenv("VLLM_ALLOW_INSECURE_SERIALIZATION", "1")
    decoder = DecoderConfig(strategy="dirichlet")
    llm = tiny_engine(tensor_parallel_size=2, distributed_executor_backend="mp", decoder=decoder)
    assert llm.collective_rpc(lambda worker: torch.manual_seed(worker.rank).initial_seed()) == [0, 1]

    ids, record = generate_with_record(llm, PROMPTS[:2], SamplingParams(temperature=1.0, max_tokens=6))

    assert record.mixture_mask.float().mean() > 0.2
    assert largest_gap(decoder.build(make_tokenizer()), PROMPTS[:2], ids, record) < 5e-5
    # A strategy of one's own reaches the workers, and a seed, too.
    told = generate(None, make_tokenizer(), ["Why?"], engine=llm, strategy=MostLikely(k=4), max_new_tokens=4)
    ours = generate(
        make_model("llama", head_dim=32), make_tokenizer(), ["Why?"], strategy=MostLikely(k=4), max_new_tokens=4
    )
    assert told[:2] == ours[:2]
    assert torch.equal(told.rollout.candidate_ids, ours.rollout.candidate_ids)
    assert llm.collective_rpc(lambda worker: torch.initial_seed()) != [0, 1]
