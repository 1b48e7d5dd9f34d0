"""Slots draw, blend and close as our own decoder does: the law of every engine, tried without one."""

from dataclasses import dataclass, replace

import pytest
import torch
from conftest import make_model, make_tokenizer
from distributions import END, NEW_TOKENS, PROMPT, ROWS, check_same_law, closing_decoder
from jaxtyping import Float
from most_likely import MostLikely
from replaying import many_spans, spans
from torch import Tensor
from transformers import PreTrainedModel

from mot_trl import DecoderConfig, MixtureDecoder, Rollout
from mot_trl.engines.slots import Slots
from mot_trl.engines.vllm_records import FLAGS, RecordShape, read_records, write_record
from mot_trl.generation.step import StepRules
from mot_trl.modeling.embedding import blend_of, override_embeddings
from mot_trl.strategies import STRATEGIES
from mot_trl.strategies.mixture import MixtureInputs


@dataclass
class Completion:
    """As vLLM returns one."""

    token_ids: list[int]
    logprobs: "Flat"


@dataclass
class Flat:
    """Log-probabilities of a completion, position after position."""

    token_ids: list[int]
    logprobs: list[float]
    ranks: list[int]


class Engine:
    """The smallest engine there is: it reads every request from its first token, all of one length, in lockstep."""

    def __init__(self, model: PreTrainedModel, decoder: MixtureDecoder, *, rows: int, length: int) -> None:
        self.model, self.length = model, length
        rules = StepRules(decoder.strategy, decoder.phases, decoder.mixture_score, decoder.draws_probes)
        vocab_size = model.config.vocab_size
        self.slots = Slots(rules, rows=rows, length=length, vocab_size=vocab_size, device=torch.device("cpu"))
        self.shape = RecordShape(self.slots.num_candidates, decoder.draws_probes)
        self.ids = torch.tensor([PROMPT] * rows)
        names = [str(row) for row in range(rows)]
        self.rows = torch.tensor(
            [self.slots.begin(name, len(PROMPT), max_length=length, end_ids=[END]) for name in names]
        )
        self.steps: list[tuple[Tensor, Tensor, Tensor]] = []

    def logits(self) -> Float[Tensor, "N V"]:
        held = (self.slots.candidate_ids, self.slots.log_weights, self.slots.mixture_mask)
        columns = (each[self.rows, : self.ids.size(1)] for each in held)
        with torch.no_grad(), override_embeddings(self.model, blend_of(self.slots.rules.strategy)) as override:
            override.inputs = MixtureInputs(*columns)
            return self.model(input_ids=self.ids).logits[:, -1]

    def step(self, *, greedy: bool = False) -> None:
        rows = torch.ones(len(self.rows), dtype=torch.bool)
        positions = torch.full((len(self.rows),), self.ids.size(1) - 1)
        step = self.slots.advance(self.rows, positions, self.logits(), is_new=rows, is_greedy=rows & greedy)
        self.steps.append(write_record(step, self.shape))
        self.ids = torch.cat([self.ids, step.visible_ids[:, None]], dim=1)

    def record(self) -> Rollout:
        ids, values, flags = (torch.stack(each, dim=1) for each in zip(*self.steps, strict=True))
        completions = []
        for row in range(len(self.rows)):
            tokens = ids[row, :, 0].tolist()
            length = tokens.index(END) + 1 if END in tokens else len(tokens)
            ranks = torch.ones_like(ids[row, :length])
            ranks[:, 0] = flags[row, :length]
            flat = Flat(*(part[row, :length].flatten().tolist() for part in (ids, values)), ranks.flatten().tolist())
            completions.append(Completion(tokens[:length], flat))
        return read_records(completions, self.shape)

    def run(self, **options: bool) -> Rollout:
        while self.ids.size(1) < self.length:
            self.step(**options)
        return self.record()


def decoder_for(strategy: str = "dirichlet", **settings: object) -> MixtureDecoder:
    return DecoderConfig.from_dict({"strategy": strategy, **settings}).build(make_tokenizer())


def decode(model: PreTrainedModel, decoder: MixtureDecoder, *, rows: int, length: int, **options: object) -> Tensor:
    new_tokens = length - len(PROMPT)
    settings = {"do_sample": True, "top_k": 0, "max_new_tokens": new_tokens, "eos_token_id": END, "pad_token_id": 0}
    sequences = model.generate(torch.tensor([PROMPT] * rows), custom_generate=decoder, **{**settings, **options})
    return sequences[:, len(PROMPT) :]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"max_mixture_tokens": 4},
        {"cold_stop_threshold": 9.0, "cold_stop_patience": 3},
        {"stop_text": "e"},
        {"mixture_score": "expected"},
    ],
)
def test_records_equal_those_of_our_decoder(model: PreTrainedModel, settings: dict[str, object]) -> None:
    decoder = replace(decoder_for(**settings), strategy=MostLikely())
    engine = Engine(model, decoder, rows=2, length=16)

    record = engine.run()

    visible = decode(model, decoder, rows=2, length=16)
    ours, thought = decoder.rollout, int(decoder.rollout.thinking_mask[0].sum()) + 1
    thought += int(decoder.rollout.forced_mask[0].sum())
    assert record.mixture_mask.any()
    assert torch.equal(engine.ids[:, len(PROMPT) :][:, : thought - 1], visible[:, : thought - 1])
    for name in ("candidate_ids", "thinking_mask", "mixture_mask", "forced_mask"):
        mine, theirs = getattr(record, name), getattr(ours, name)
        assert torch.equal(mine[:, : thought - 1], theirs[:, : thought - 1]), name
    for name in ("log_weights", "logps"):
        mine, theirs = getattr(record, name), getattr(ours, name)
        torch.testing.assert_close(mine[:, : thought - 1], theirs[:, : thought - 1], atol=2e-5, rtol=0)
    assert torch.equal(record.closed_by, ours.closed_by)


def test_several_spans_of_thinking_are_those_of_our_decoder(model: PreTrainedModel) -> None:
    decoder = MixtureDecoder(MostLikely(), many_spans())
    # Nothing is random: a thought shows its most likely token, and so does an answer.
    engine = Engine(model, decoder, rows=2, length=24)

    engine.run(greedy=True)

    visible = decode(model, decoder, rows=2, length=24, do_sample=False)
    record, ours = engine.record(), decoder.rollout
    length = record.logps.size(1)
    assert torch.equal(engine.ids[:, len(PROMPT) :][:, :length], visible[:, :length])
    for name in ("thinking_mask", "forced_mask", "closed_by"):
        assert torch.equal(getattr(record, name), getattr(ours, name)), name
    assert spans(record).min() >= 2
    assert record.forced_mask.any()


def test_a_greedy_request_takes_the_most_likely_tokens(model: PreTrainedModel) -> None:
    decoder = decoder_for()
    engine = Engine(model, decoder, rows=1, length=12)

    record = engine.run(greedy=True)

    assert torch.equal(engine.ids[:, len(PROMPT) :], decode(model, decoder, rows=1, length=12, do_sample=False))
    assert torch.equal(record.logps, decoder.rollout.logps)
    assert not record.mixture_mask.any()


def test_a_preempted_request_goes_on_with_all_that_it_drew(model: PreTrainedModel) -> None:
    engine = Engine(model, decoder_for(max_mixture_tokens=6), rows=1, length=24)
    for _ in range(4):
        engine.step()
    slots, length = engine.slots, engine.ids.size(1)
    before = [each[0, :length].clone() for each in (slots.candidate_ids, slots.log_weights, slots.phases)]

    slots.leave("0")
    again = slots.resume("0")

    assert again == 0
    for each, held in zip(before, (slots.candidate_ids, slots.log_weights, slots.phases), strict=True):
        assert torch.equal(each, held[again, :length])
    # Six thoughts in all, not six more: then the tag is forced.
    record = engine.run()
    assert record.forced_mask[0, 6]
    assert not record.forced_mask[0, :6].any()


def test_a_row_that_is_being_read_again_keeps_what_it_drew(model: PreTrainedModel) -> None:
    engine = Engine(model, decoder_for(), rows=1, length=24)
    for _ in range(4):
        engine.step()
    slots, rows = engine.slots, torch.ones(1, dtype=torch.bool)
    before = slots.log_weights[:, :-1].clone()

    slots.advance(engine.rows, torch.tensor([4]), engine.logits(), is_new=~rows, is_greedy=~rows)

    assert torch.equal(slots.log_weights[:, :-1], before)


def test_rows_are_reused_in_the_order_in_which_they_were_left(model: PreTrainedModel) -> None:
    slots = Engine(model, decoder_for(), rows=3, length=24).slots
    for name in ("1", "0", "2"):
        slots.leave(name)
        slots.leave(name)  # aborted while it was away

    rows = [slots.begin(name, 3, max_length=24, end_ids=[]) for name in ("new", "newer")]

    assert rows == [1, 0]
    assert slots.resume("2") == 2
    with pytest.raises(RuntimeError, match="preempted, and what it drew is gone"):
        slots.resume("0")


def test_a_thousand_requests_leave_nothing_behind(model: PreTrainedModel) -> None:
    slots = Engine(model, decoder_for(), rows=2, length=24).slots
    for name in ("0", "1"):
        slots.leave(name)
    for number in range(1000):
        slots.begin(f"request {number}", 3, max_length=24, end_ids=[2, 3, 4])
        slots.leave(f"request {number}")

    assert len(slots._left) == 2
    assert not slots._row_of
    assert slots.end_ids.shape == (2, 3)


def test_any_number_of_end_tokens_ends_a_row(model: PreTrainedModel) -> None:
    engine = Engine(model, replace(decoder_for(), strategy=MostLikely()), rows=1, length=12)
    engine.slots.leave("0")
    engine.slots.begin("many", len(PROMPT), max_length=12, end_ids=range(100, 259))
    positions = torch.tensor([len(PROMPT) - 1])
    logits = torch.zeros(1, 259).index_fill(1, torch.tensor([258]), 9.0)
    yes = torch.ones(1, dtype=torch.bool)

    step = engine.slots.advance(engine.rows, positions, logits, is_new=yes, is_greedy=~yes)

    assert step.visible_ids.tolist() == [258]
    assert step.finished.all()
    assert not step.phase.thinking.any()


def test_a_row_with_nan_logits_ends_there_and_says_so(model: PreTrainedModel) -> None:
    engine = Engine(model, decoder_for(), rows=2, length=8)
    engine.step()
    healthy = engine.logits()
    engine.logits = lambda: torch.where(torch.tensor([[True], [False]]), torch.nan, healthy)
    engine.step()

    record = engine.record()

    assert record.non_finite.tolist() == [True, False]
    assert engine.ids[0, -1] == END
    assert record.forced_mask[0, 1]
    assert record.logps[0, 1] == 0


def test_probes_travel_too(model: PreTrainedModel) -> None:
    engine = Engine(model, replace(decoder_for(), draws_probes=True), rows=1, length=8)
    logits = engine.logits()
    engine.step()

    record = engine.record()

    logps = logits.log_softmax(dim=-1)
    assert record.probe_logps[0, 0] == pytest.approx(logps[0, record.probe_ids[0, 0]].item(), abs=1e-6)
    assert record.num_candidates == 2


@pytest.mark.parametrize("closed_by", [-1, 0, 2])
def test_which_rule_closed_the_thinking_travels(model: PreTrainedModel, closed_by: int) -> None:
    settings = {"max_mixture_tokens": 100, "cold_stop_threshold": 9.0 if closed_by == 2 else 1e-6}
    settings |= {"cold_stop_patience": 2, "stop_text": "e" if closed_by == 0 else "</think>"}
    decoder = replace(decoder_for(**settings), strategy=MostLikely())
    engine = Engine(model, decoder, rows=1, length=24)
    if closed_by == 0:
        engine.logits = lambda: torch.zeros(1, 259).index_fill(1, torch.tensor(make_tokenizer().encode("e")), 9.0)

    record = engine.run()

    assert record.closed_by.tolist() == [closed_by]


def test_what_another_rank_drew_is_taken(model: PreTrainedModel) -> None:
    sent: list[Tensor] = []
    engines = [Engine(model, decoder_for(), rows=2, length=8) for _ in range(2)]
    engines[0].slots.share = lambda drawn: sent.append(drawn) or drawn
    engines[1].slots.share = lambda drawn: sent.pop(0)
    for engine in engines:
        engine.run()

    first, second = (engine.slots for engine in engines)
    assert torch.equal(engines[0].ids, engines[1].ids)
    assert torch.equal(first.candidate_ids, second.candidate_ids)
    assert torch.equal(first.log_weights, second.log_weights)


def test_plain_tokens_are_no_record() -> None:
    plain = Completion([5, 6], Flat([5, 1, 2, 6, 1, 2], [-1.0] * 6, [3, 1, 2, 1, 1, 2]))

    with pytest.raises(RuntimeError, match="thought in plain tokens"):
        read_records([plain], RecordShape(2, probes=False))


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_visible_tokens_and_closing_times_are_distributed_as_our_decoders(strategy: str) -> None:
    model = make_model()
    decoder = closing_decoder(model, strategy)
    engine = Engine(model, decoder, rows=ROWS, length=len(PROMPT) + NEW_TOKENS)

    while engine.ids.size(1) < engine.length:
        engine.step()

    thinking_mask = torch.stack([flags & FLAGS["thinking_mask"] for _, _, flags in engine.steps], dim=1)
    check_same_law(model, decoder, engine.ids[:, len(PROMPT) :], thinking_mask)
