"""Compares what an engine draws with what our own decoder draws, by chi-square."""

from dataclasses import replace

import torch
from conftest import make_tokenizer
from torch import Tensor
from transformers import PreTrainedModel

from mot_trl import DecoderConfig, MixtureDecoder
from mot_trl.generation.phases import Phases
from mot_trl.generation.stop_text import TextRule

END = 2
PROMPT = [10, 20, 30]
ROWS, NEW_TOKENS = 2000, 4


def closing_decoder(model: PreTrainedModel, strategy: str) -> MixtureDecoder:
    """A decoder whose thinking is closed by a token that some completions show and others do not."""
    decoder = DecoderConfig.from_dict({"strategy": strategy}).build(make_tokenizer())
    torch.manual_seed(1)
    table = torch.zeros(1, 260, dtype=torch.int16)
    table[0, _decode(model, decoder, rows=100)[:, 1].mode().values] = 1
    return replace(decoder, phases=Phases(rules=(TextRule(table),)))


def check_same_law(model: PreTrainedModel, decoder: MixtureDecoder, ids: Tensor, thinking_mask: Tensor) -> None:
    """Compare 2,000 completions of `PROMPT` with as many of our decoder's, by each position and by when they close."""
    theirs, thoughts = _decode(model, decoder, rows=ROWS), thinking_mask.sum(dim=1)
    assert 0 < (thoughts < NEW_TOKENS).sum() < ROWS
    assert _tail_probability(thoughts, decoder.rollout.thinking_mask.sum(dim=1)) > 1e-4
    # After its end a row of ours is padding; an engine's may be anything there.
    ended, theirs_ended = ((each.eq(END).cumsum(dim=1) - each.eq(END).long()) > 0 for each in (ids, theirs))
    for column in range(NEW_TOKENS):
        first = ids[:, column].masked_fill(ended[:, column], 259)
        second = theirs[:, column].masked_fill(theirs_ended[:, column], 259)
        assert _tail_probability(first, second) > 1e-4, column


def _decode(model: PreTrainedModel, decoder: MixtureDecoder, *, rows: int) -> Tensor:
    settings = {"do_sample": True, "top_k": 0, "max_new_tokens": NEW_TOKENS, "eos_token_id": END, "pad_token_id": 0}
    sequences = model.generate(torch.tensor([PROMPT] * rows), custom_generate=decoder, **settings)
    return sequences[:, len(PROMPT) :]


def _tail_probability(first: Tensor, second: Tensor) -> float:
    """Of the chi-square by which two samples of the same law differ, rare values taken together."""
    counts = torch.stack([each.flatten().bincount(minlength=260) for each in (first, second)]).double()
    rare = counts.sum(dim=0) < 20
    counts = torch.cat([counts[:, ~rare], counts[:, rare].sum(dim=1, keepdim=True)], dim=1)
    counts = counts[:, counts.sum(dim=0) > 0]
    expected = counts.sum(dim=0) / 2  # the samples are of the same size
    statistic = ((counts - expected).square() / expected).sum()
    freedom = torch.tensor(max(counts.size(1) - 1, 1) / 2, dtype=torch.float64)
    return float(torch.special.gammaincc(freedom, statistic / 2))
