"""Mixtures through transformers' continuous batching obey the laws of our own decoder, under pressure, too."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from conftest import make_model, make_tokenizer
from distributions import END, NEW_TOKENS, PROMPT, ROWS, check_same_law, closing_decoder
from most_likely import MostLikely, OneVisible
from replayed import replay_gap
from replaying import many_spans, spans
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from transformers import GenerationConfig, PreTrainedModel
from transformers.generation import ContinuousBatchingConfig
from transformers.generation.continuous_batching.requests import RequestState

from mot_trl import DecoderConfig, MixtureDecoder, Rollout
from mot_trl.engines.continuous_batching import MixtureRunner, generate_batch
from mot_trl.strategies import STRATEGIES

# Of different lengths, the last longer than a batch of 32 tokens.
PROMPTS = [[3 + (7 * i + j) % 250 for j in range(length)] for i, length in enumerate((5, 17, 9, 40))]

# The name of its size, in newer and older releases.
PAGE = "page_size" if hasattr(ContinuousBatchingConfig, "page_size") else "block_size"


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def decoder_for(strategy: str = "dirichlet", **settings: Any) -> MixtureDecoder:
    return DecoderConfig.from_dict({"strategy": strategy, **settings}).build(make_tokenizer())


def settings_for(cache: dict[str, Any] | None = None, **sampling: Any) -> dict[str, Any]:
    """Arguments of `generate_batch`."""
    defaults = {"do_sample": True, "top_k": 0, "max_new_tokens": 12, "eos_token_id": END, "pad_token_id": 0}
    sizes = {"page": 16, "num_blocks": 64, "max_batch_tokens": 32, **(cache or {})}
    sizes[PAGE] = sizes.pop("page")
    return {
        "generation_config": GenerationConfig(**{**defaults, **sampling}),
        "continuous_batching_config": ContinuousBatchingConfig(**sizes),
    }


def complete(
    model: PreTrainedModel, decoder: MixtureDecoder, prompts: list[list[int]], **settings: Any
) -> tuple[Tensor, Rollout]:
    """Completions, padded on the right, and their record."""
    outputs, record = generate_batch(model, decoder, prompts, **settings)
    return pad_sequence([torch.tensor(each.generated_tokens) for each in outputs.values()], batch_first=True), record


@pytest.mark.parametrize(
    "strategy", [pytest.param(each, marks=[] if each == "dirichlet" else pytest.mark.slow) for each in STRATEGIES]
)
def test_replay_equals_generation(model: PreTrainedModel, strategy: str) -> None:
    decoder = decoder_for(strategy)

    ids, record = complete(model, decoder, PROMPTS, **settings_for(temperature=2.0))

    assert strategy == "one_token" or record.mixture_mask.any()
    assert replay_gap(model, decoder, PROMPTS, ids, record, temperature=2.0) < 2e-5


def evictions(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Requests that are going to lose their cache, one entry for each time."""
    evicted: list[str] = []
    own: Callable[..., Any] = RequestState.create_equivalent_initial_request
    monkeypatch.setattr(
        RequestState, "create_equivalent_initial_request", lambda self: evicted.append(self.request_id) or own(self)
    )
    return evicted


@pytest.mark.slow
def test_evicted_requests_blend_again(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    evicted, decoder = evictions(monkeypatch), decoder_for(max_mixture_tokens=30)
    crowd = [prompt for prompt in PROMPTS for _ in range(2)]

    tight = settings_for({"page": 8, "num_blocks": 12}, max_new_tokens=45, eos_token_id=-1)
    ids, record = complete(model, decoder, crowd, **tight)

    assert len(evicted) > 5
    assert record.mixture_mask.sum() > 100
    # A budget that went on, not one that began again.
    assert (record.thinking_mask.sum(dim=1) == 30).all()
    assert replay_gap(model, decoder, crowd, ids, record) < 2e-5


def test_equal_tokens_of_other_mixtures_share_no_cache(model: PreTrainedModel) -> None:
    decoder = replace(decoder_for(), strategy=OneVisible())
    crowd = [PROMPTS[1], PROMPTS[1], [*PROMPTS[1], *[7] * 20]]

    ids, record = complete(model, decoder, crowd, **settings_for({"page": 8}, max_new_tokens=24))

    assert (ids == 7).all()
    assert record.mixture_mask[:, :-1].all()
    assert replay_gap(model, decoder, crowd, ids, record) < 2e-5


@pytest.mark.slow
@pytest.mark.parametrize("family", ["mistral", "gemma3"])
def test_sliding_windows_and_scaled_embeddings(family: str) -> None:
    model, decoder = make_model(family, attn_implementation="eager"), decoder_for()

    ids, record = complete(model, decoder, PROMPTS, **settings_for())

    assert record.mixture_mask.any()
    assert replay_gap(model, decoder, PROMPTS, ids, record) < 2e-5
    assert model.config._attn_implementation == "eager"


def test_records_equal_those_of_our_decoder(model: PreTrainedModel) -> None:
    decoder = replace(decoder_for(), strategy=MostLikely(), draws_probes=True)

    ids, record = complete(model, decoder, PROMPTS[:2], **settings_for(eos_token_id=-1))

    assert record.mixture_mask[:, :-1].all()
    for row, prompt in enumerate(PROMPTS[:2]):
        settings = {"do_sample": True, "top_k": 0, "max_new_tokens": 12, "eos_token_id": None, "pad_token_id": 0}
        sequence = model.generate(torch.tensor([prompt]), custom_generate=decoder, **settings)
        assert torch.equal(sequence[0, len(prompt) :], ids[row])
        mine, ours = record.rows(row, row + 1).tensors(), decoder.rollout.tensors()
        for name, tensor in ours.items():
            if not name.startswith("probe"):  # which are drawn
                torch.testing.assert_close(mine[name], tensor, atol=2e-5, rtol=0)
        assert mine["probe_ids"].unique().numel() > 6
        assert (mine["probe_logps"] < 0).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"max_mixture_tokens": 4},
        {"cold_stop_threshold": 9.0, "cold_stop_patience": 3},
        {"start_text": "a"},
        {"stop_text": "e", "mixture_score": "expected"},
    ],
)
def test_phases_are_those_of_our_decoder(model: PreTrainedModel, settings: dict[str, Any]) -> None:
    decoder = decoder_for("top_k", strategy_kwargs={"k": 3}, **settings)

    ids, record = complete(model, decoder, PROMPTS, **settings_for(max_new_tokens=20))

    assert replay_gap(model, decoder, PROMPTS, ids, record) < 2e-5
    if "max_mixture_tokens" in settings:
        tag = make_tokenizer().encode("</think>")
        assert ids[0, 4 : 4 + len(tag)].tolist() == tag


def test_several_spans_of_thinking_are_those_of_our_decoder(model: PreTrainedModel) -> None:
    decoder, greedy = MixtureDecoder(MostLikely(), many_spans()), {"do_sample": False, "max_new_tokens": 24}

    ids, record = complete(model, decoder, PROMPTS[:1], **settings_for(**greedy))

    whole = model.generate(torch.tensor(PROMPTS[:1]), custom_generate=decoder, eos_token_id=END, **greedy)
    assert torch.equal(ids, whole[:, len(PROMPTS[0]) :])
    assert spans(record).min() >= 2
    for name in ("thinking_mask", "forced_mask", "closed_by"):
        assert torch.equal(getattr(record, name), getattr(decoder.rollout, name)), name


def test_greedy_requests_and_end_tokens_are_those_of_generate(model: PreTrainedModel) -> None:
    decoder, prompt = decoder_for(), PROMPTS[2]
    whole = model.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=12, eos_token_id=None)[0, 9:]
    ends = [END, int(whole[5])]
    first = whole.tolist().index(ends[1])

    greedy = settings_for({"return_logprobs": True}, do_sample=False, eos_token_id=ends)
    outputs, record = generate_batch(model, decoder, [prompt], **greedy)

    (output,) = outputs.values()
    assert output.generated_tokens == whole[: first + 1].tolist()
    assert record.lengths.tolist() == [first + 1]
    assert output.logprobs == pytest.approx(record.logps[0].tolist())
    assert not record.mixture_mask.any()


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["dirichlet", "mixture_of_inputs"])
def test_visible_tokens_and_closing_times_are_distributed_as_our_decoders(
    model: PreTrainedModel, strategy: str
) -> None:
    decoder = closing_decoder(model, strategy)

    settings = settings_for({"num_blocks": 256, "max_batch_tokens": 512}, max_new_tokens=NEW_TOKENS)
    ids, record = complete(model, decoder, [PROMPT] * ROWS, **settings)

    check_same_law(model, decoder, ids, record.thinking_mask)


@pytest.mark.slow
@pytest.mark.skipif(PAGE == "block_size", reason="older releases return one completion of a prompt, and it fails")
def test_several_completions_a_prompt_are_rows_of_their_own(model: PreTrainedModel) -> None:
    decoder = decoder_for()

    outputs, record = generate_batch(model, decoder, PROMPTS, **settings_for(num_return_sequences=3))

    assert len(outputs) == 12
    prompts = [output.prompt_ids for output in outputs.values()]
    assert prompts == [prompt for prompt in PROMPTS for _ in range(3)]
    ids = pad_sequence([torch.tensor(output.generated_tokens) for output in outputs.values()], batch_first=True)
    assert len({tuple(row.tolist()) for row in ids}) > 8
    assert replay_gap(model, decoder, prompts, ids, record) < 2e-5


def test_nan_logits_end_a_row(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    own: Callable[..., Any] = MixtureRunner._sample

    def second_row_breaks(self: MixtureRunner, scores: Tensor, output_ids: Tensor) -> None:
        scores[0, 1:2] = torch.nan
        own(self, scores, output_ids)

    monkeypatch.setattr(MixtureRunner, "_sample", second_row_breaks)
    outputs, record = generate_batch(model, decoder_for(), PROMPTS[:2], **settings_for(max_new_tokens=4))

    assert [output.generated_tokens[-1] == END for output in outputs.values()][1]
    assert record.non_finite.tolist() == [False, True]
    assert record.lengths.tolist() == [4, 1]


def test_a_step_never_waits_for_the_device(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[str] = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            name = func.overloadpacket.__name__
            by_mask = name in ("index", "index_put_") and any(
                each is not None and each.dtype == torch.bool for each in args[1]
            )
            if by_mask or name in ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "_unique2"):
                waits.append(name)
            return func(*args, **(kwargs or {}))

    own: Callable[..., None] = MixtureRunner.compute_batch

    def watched(*args: Any) -> None:
        with Watch():
            own(*args)

    # A first batch gives the requests their rows; after it, the steps are all alike.
    monkeypatch.setattr(MixtureRunner, "compute_batch", watched)
    monkeypatch.setattr(MixtureRunner, "_row", lambda self, state: _unwatched(own_row, self, state))
    generate_batch(model, decoder_for(), PROMPTS[:2], **settings_for(max_new_tokens=3))

    assert waits == []


own_row: Callable[..., Any] = MixtureRunner._row


def _unwatched(function: Callable[..., Any], *args: Any) -> Any:
    with _disable_current_modes():
        return function(*args)


@pytest.mark.filterwarnings("ignore:Passing `repetition_penalty`")
@pytest.mark.parametrize(
    ("cache", "sampling", "message"),
    [
        ({"use_cuda_graph": True}, {}, "takes no `use_cuda_graph`"),
        ({"use_async_batching": True}, {}, "takes no `use_async_batching`"),
        ({"default_compile_level": 1}, {}, "takes no `default_compile_level`"),
        ({"seed": 3}, {}, "takes no `seed`"),
        ({}, {"repetition_penalty": 1.2}, "does not support RepetitionPenaltyLogitsProcessor"),
        ({}, {"max_new_tokens": None}, "Set `max_new_tokens`"),
        ({}, {"num_beams": 2}, "`num_beams=2` would be ignored"),
    ],
)
def test_what_mixtures_do_not_go_together_with_is_refused(
    model: PreTrainedModel, cache: dict[str, Any], sampling: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        generate_batch(model, decoder_for(), PROMPTS, **settings_for(cache, **sampling))
    assert "init_continuous_batching" not in vars(model)


def test_a_model_that_paged_attention_computes_otherwise_is_refused() -> None:
    model = make_model("gemma2", attn_implementation="eager", attn_logit_softcapping=9.0)

    with pytest.raises(ValueError, match="does not support `attn_logit_softcapping`"):
        generate_batch(model, decoder_for(), PROMPTS, **settings_for())
    assert model.config._attn_implementation == "eager"


@pytest.mark.parametrize("prompts", [[], [[5], []]])
def test_prompts_of_no_length_are_refused(model: PreTrainedModel, prompts: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="each needs a token"):
        generate_batch(model, decoder_for(), prompts, **settings_for())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_failure_in_its_thread_is_told(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any) -> None:
        raise ArithmeticError("no more numbers")

    monkeypatch.setattr(MixtureRunner, "_sample", fail)
    with pytest.raises(RuntimeError, match="continuous batching failed: no more numbers"):
        generate_batch(model, decoder_for(), PROMPTS, **settings_for())


def test_a_prompt_that_no_cache_holds_is_told(model: PreTrainedModel) -> None:
    with pytest.raises(RuntimeError, match="continuous batching failed: No requests can be scheduled"):
        generate_batch(model, decoder_for(), PROMPTS, **settings_for({"page": 8, "num_blocks": 4}))
