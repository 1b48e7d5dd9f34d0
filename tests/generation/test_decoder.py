"""Generation is what replay scores, and with one token it is transformers' own."""

from collections.abc import Callable

import pytest
import torch
import transformers
from conftest import FAMILIES, make_model, make_tokenizer
from packaging.version import Version
from peft import LoraConfig, get_peft_model
from replaying import PROMPTS, decode, drawn, many_spans, replay, spans, with_heads
from torch import Tensor
from torch.overrides import TorchFunctionMode
from transformers import (
    DynamicCache,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    RepetitionPenaltyLogitsProcessor,
)

from mot_trl import MixtureDecoder, Rollout, build_phases, build_strategy, generate
from mot_trl.generation import decoding_loop, forward_pass
from mot_trl.generation.phases import Phases
from mot_trl.generation.stop_text import TextRule
from mot_trl.strategies import STRATEGIES, Strategy
from mot_trl.strategies.mixture import is_mixed
from mot_trl.strategies.one_token import OneToken


@pytest.mark.parametrize("family", FAMILIES)
def test_replay_equals_generation_in_every_family(family: str) -> None:
    strategy = build_strategy("dirichlet", k=3)
    model = with_heads(make_model(family), strategy)

    sequences, mask, prompt_length, rollout = decode(model, strategy)
    logps = replay(model, strategy, sequences, mask, prompt_length, rollout)

    where = drawn(mask, prompt_length, rollout)
    assert rollout.mixture_mask.float().mean() > 0.2
    assert torch.allclose(logps[where], rollout.logps[where], atol=1e-5)
    assert (rollout.logps[~where] == 0).all()
    assert not (rollout.mixture_mask & ~is_mixed(rollout.log_weights)).any()


@pytest.mark.parametrize("options", [{}, {"use_cache": False}, {"pad_token_id": 9}], ids=str)
@pytest.mark.parametrize("steps", [1, 8])
def test_replay_equals_generation_while_some_rows_think_and_others_answer_or_have_ended(
    options: dict[str, object], steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding_loop, "steps_between_checks", lambda device: steps)
    strategy = build_strategy("top_k", k=4)
    model = with_heads(make_model(seed=3), strategy)

    sequences, mask, prompt_length, rollout = decode(
        model,
        strategy,
        prompts=PROMPTS * 4,
        max_new_tokens=40,
        stop_text="+",
        eos_token_id=[11, 38, 79],
        **options,
    )
    logps = replay(model, strategy, sequences, mask, prompt_length, rollout)

    where = drawn(mask, prompt_length, rollout)
    thinking = rollout.thinking_mask.sum(dim=1)
    assert len(set(thinking.tolist())) > 3
    assert len(set(where.sum(dim=1).tolist())) > 3
    assert (rollout.thinking_mask.any(dim=0) & (where & ~rollout.thinking_mask).any(dim=0)).any()
    assert torch.allclose(logps[where], rollout.logps[where], atol=1e-5)
    assert (rollout.logps[~where] == 0).all()
    assert (sequences[:, prompt_length:][~where] == options.get("pad_token_id", 0)).all()
    nothing = Rollout.empty(*where.shape, num_candidates=4, device="cpu")
    blank = ~rollout.thinking_mask
    assert torch.equal(rollout.candidate_ids[blank], nothing.candidate_ids[blank])
    assert torch.equal(rollout.log_weights[blank], nothing.log_weights[blank])


@pytest.mark.parametrize("steps", [1, 8])
@pytest.mark.parametrize("strategy", [build_strategy("dirichlet", k=3), build_strategy("gated", k=3, rate=0.5)])
def test_replay_equals_generation_over_several_spans(
    strategy: Strategy, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding_loop, "steps_between_checks", lambda device: steps)
    model = with_heads(make_model(seed=3), strategy)
    phases = many_spans()

    found = decode(model, strategy, prompts=PROMPTS * 2, phases=phases, max_new_tokens=24, eos_token_id=[11])
    sequences, mask, prompt_length, rollout = found
    logps = replay(model, strategy, *found)

    where = drawn(mask, prompt_length, rollout)
    assert torch.allclose(logps[where], rollout.logps[where], atol=1e-5)
    assert spans(rollout).max() >= 4
    assert rollout.thinking_mask.sum(dim=1).max() == 9
    assert set(rollout.closed_by.tolist()) >= {0, 2}
    # Budget by budget and tag by tag, as the rules say for the tokens that came out.
    completions = sequences[:, prompt_length:]
    state = phases.begin(len(completions), torch.device("cpu"))
    for column, tokens in enumerate(completions.T):
        running = where[:, column] | rollout.forced_mask[:, column]
        assert torch.equal(state.thinking & running, rollout.thinking_mask[:, column])
        forced_ids, forced, state = phases.force(state, tokens)
        assert torch.equal(forced & running, rollout.forced_mask[:, column])
        assert torch.equal(torch.where(running, forced_ids, tokens), tokens)
        state = phases.advance(state, tokens, torch.zeros(len(tokens), 259), tokens == 11)
    # A token that ends a span is fed as itself, a thought that a rule has ended as the mixture that it is.
    ends = rollout.thinking_mask & (completions % 3 == 0)
    assert ends.any()
    assert not (rollout.mixture_mask & ends).any()


@pytest.mark.parametrize("name", STRATEGIES)
def test_replay_equals_generation_with_every_strategy(name: str) -> None:
    strategy = build_strategy(name, k=4)
    model = with_heads(make_model("qwen2"), strategy)

    sequences, mask, prompt_length, rollout = decode(model, strategy, max_mixture_tokens=7, max_new_tokens=20)
    logps = replay(model, strategy, sequences, mask, prompt_length, rollout)

    where = drawn(mask, prompt_length, rollout)
    assert torch.allclose(logps[where], rollout.logps[where], atol=1e-5)


def test_replay_without_its_mixtures_gives_other_log_probs() -> None:
    strategy = build_strategy("top_k", k=3)
    model = with_heads(make_model(), strategy)

    sequences, mask, prompt_length, rollout = decode(model, strategy)
    rollout.mixture_mask.zero_()
    logps = replay(model, strategy, sequences, mask, prompt_length, rollout)

    where = drawn(mask, prompt_length, rollout)
    assert (logps - rollout.logps)[where].abs().max() > 1e-2


def test_replay_equals_generation_with_lora() -> None:
    strategy = build_strategy("dirichlet", k=3)
    base = with_heads(make_model(), strategy)
    model = get_peft_model(
        base, LoraConfig(target_modules=["q_proj", "v_proj", "embed_tokens"], init_lora_weights=False)
    ).eval()

    sequences, mask, prompt_length, rollout = decode(model, strategy)
    logps = replay(model, strategy, sequences, mask, prompt_length, rollout)

    where = drawn(mask, prompt_length, rollout)
    assert torch.allclose(logps[where], rollout.logps[where], atol=1e-5)


@pytest.mark.parametrize("family", ["llama", "mistral", "gemma3"])
def test_a_rows_result_does_not_depend_on_its_batch(family: str) -> None:
    strategy = build_strategy("top_k", k=3)
    model = with_heads(make_model(family), strategy)
    sequences, mask, prompt_length, rollout = decode(model, strategy)

    for row in range(len(sequences)):
        padding = int((mask[row, :prompt_length] == 0).sum())
        length = int(mask[row, prompt_length:].sum())
        end = prompt_length + length
        alone = replay(
            model,
            strategy,
            sequences[row : row + 1, padding:end],
            mask[row : row + 1, padding:end],
            prompt_length - padding,
            rollout.rows(row, row + 1).resize(length),
        )
        assert torch.allclose(alone[0], rollout.logps[row, :length], atol=1e-5)


@pytest.mark.parametrize("family", ["llama", "mistral", "gemma2"])
@pytest.mark.parametrize("use_cache", [True, False])
def test_greedy_decoding_gives_transformers_own_tokens(family: str, use_cache: bool) -> None:
    model = make_model(family)
    inputs = make_tokenizer()(PROMPTS, return_tensors="pt", padding=True, padding_side="left")
    options = {"max_new_tokens": 40, "do_sample": False, "use_cache": use_cache, "eos_token_id": [2, 50, 60, 70]}

    for name in ("one_token", "top_k"):
        decoder = MixtureDecoder(build_strategy(name), build_phases(make_tokenizer()))
        ours = model.generate(**inputs, custom_generate=decoder, **options)
        assert torch.equal(ours, model.generate(**inputs, **options))


def test_sampling_one_token_gives_transformers_own_tokens_while_no_row_has_ended() -> None:
    model = make_model()
    inputs = make_tokenizer()(PROMPTS, return_tensors="pt", padding=True, padding_side="left")
    options = {"max_new_tokens": 20, "do_sample": True, "temperature": 0.7, "top_k": 0, "eos_token_id": []}

    torch.manual_seed(0)
    theirs = model.generate(**inputs, **options)
    torch.manual_seed(0)
    decoder = MixtureDecoder(OneToken(), build_phases(make_tokenizer()))
    ours = model.generate(**inputs, custom_generate=decoder, **options)

    assert torch.equal(ours, theirs)


def next_token_probs(model: PreTrainedModel, ids: Tensor) -> Tensor:
    with torch.no_grad():
        return model(ids).logits[:, -1].softmax(-1)


def assert_drawn_from(expected: Tensor, observed: Tensor) -> None:
    """Pearson's chi-square, four standard deviations wide, over the cells that are not too rare for it."""
    cells = expected > 5
    statistic = ((observed - expected)[cells].square() / expected[cells]).sum()
    degrees = cells.sum() - 1
    assert statistic < degrees + 4 * (2 * degrees).sqrt()
    assert observed[~cells].sum() <= expected[~cells].sum() + 30


def count_pairs(completions: Tensor) -> Tensor:
    counts = torch.zeros(12, 12)
    return counts.index_put_((completions[:, 0], completions[:, 1]), torch.ones(len(completions)), accumulate=True)


def test_sampled_tokens_follow_the_models_distribution() -> None:
    model = make_model(vocab_size=12, initializer_range=0.05)
    ids = torch.tensor([[3, 4, 5]]).repeat(4000, 1)
    decoder = MixtureDecoder(OneToken(), build_phases(make_tokenizer()))
    torch.manual_seed(0)

    second = model.generate(ids, custom_generate=decoder, max_new_tokens=2, do_sample=True, top_k=0, pad_token_id=0)

    after = next_token_probs(model, torch.cat([ids[:12], torch.arange(12).unsqueeze(1)], dim=1))
    after[2] = torch.nn.functional.one_hot(torch.tensor(0), 12)  # after the end there is padding
    first = next_token_probs(model, ids[:1])[0]
    assert_drawn_from(4000 * first.unsqueeze(1) * after, count_pairs(second[:, 3:]))


@pytest.mark.parametrize("steps", [1, 8])
def test_answers_follow_the_models_distribution_while_other_rows_think(
    steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding_loop, "steps_between_checks", lambda device: steps)
    model = make_model(vocab_size=12, initializer_range=0.05)
    ids = torch.tensor([[3, 4, 5]]).repeat(8000, 1)
    closing = torch.arange(12) % 2 == 1
    stop = TextRule(torch.cat([closing, torch.tensor([False])]).to(torch.int16).unsqueeze(0))
    decoder = MixtureDecoder(build_strategy("top_k", k=6), Phases(rules=(stop,)))
    torch.manual_seed(0)

    second = model.generate(ids, custom_generate=decoder, max_new_tokens=2, do_sample=True, top_k=0, pad_token_id=0)

    answers = count_pairs(second[:, 3:]) * closing.unsqueeze(1)
    after = next_token_probs(model, torch.cat([ids[:12], torch.arange(12).unsqueeze(1)], dim=1))
    assert 1000 < answers.sum() < 7000
    assert_drawn_from(answers.sum(dim=1, keepdim=True) * after, answers)


def count_rows(model: PreTrainedModel) -> tuple[list[int], Callable[[], None]]:
    rows: list[int] = []
    hook = model.model.register_forward_pre_hook(
        lambda module, args, kwargs: rows.append(kwargs["input_ids"].size(0)), with_kwargs=True
    )
    return rows, hook.remove


def test_equal_prompts_are_read_once_and_ended_rows_leave_the_batch() -> None:
    model = make_model()
    rows, remove = count_rows(model)

    ends = list(range(2, 200))
    sequences, *_ = decode(
        model, OneToken(), prompts=["Hi"] * 8, max_new_tokens=60, eos_token_id=ends, pad_token_id=0, temperature=3.0
    )
    remove()

    assert rows[0] == 1
    assert rows[1] <= 8
    assert rows[-1] < 8
    completions = sequences[:, 2:]
    for completion in completions.tolist():
        end = next((t for t, token in enumerate(completion) if token in ends), len(completion))
        assert not any(completion[end + 1 :])


def test_completions_are_cut_to_the_longest_however_seldom_the_host_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding_loop, "steps_between_checks", lambda device: 8)

    sequences, mask, prompt_length, rollout = decode(
        make_model(), OneToken(), max_new_tokens=60, eos_token_id=list(range(2, 200)), pad_token_id=0, temperature=3.0
    )

    lengths = mask[:, prompt_length:].sum(dim=1)
    assert lengths.max() % 8 != 0
    assert sequences.size(1) - prompt_length == rollout.logps.size(1) == lengths.max()


class HostReads(TorchFunctionMode):
    """Counts how often the host waits for a value, or for a shape, that only the device knows."""

    names = frozenset({"__bool__", "__float__", "__index__", "__int__", "cpu", "item", "nonzero", "numpy", "tolist"})

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(
        self, func: Callable, types: object, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        self.count += getattr(func, "__name__", "") in self.names
        return func(*args, **(kwargs or {}))


def test_the_host_synchronizes_twice_in_eight_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decoding_loop, "steps_between_checks", lambda device: 8)
    model = make_model()
    counts = []

    for steps in (8, 40):
        with HostReads() as reads:
            decode(
                model, build_strategy("dirichlet"), max_new_tokens=steps, max_mixture_tokens=20, eos_token_id=[11, 38]
            )
        counts.append(reads.count)

    # transformers asks at each step whether its mask masks anything.
    assert counts[1] - counts[0] <= 32 + 2 * 32 // 8


def test_equal_ids_under_different_masks_are_different_prompts() -> None:
    model = make_model()
    ids = torch.tensor([[0, 0, 5, 6], [0, 0, 5, 6]])
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])
    options = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": [], "pad_token_id": 0}
    decoder = MixtureDecoder(OneToken(), build_phases(make_tokenizer()))

    ours = model.generate(input_ids=ids, attention_mask=mask, custom_generate=decoder, **options)

    assert torch.equal(ours, model.generate(input_ids=ids, attention_mask=mask, **options))
    assert not torch.equal(ours[0], ours[1])


def test_a_cache_whose_rows_cannot_be_selected_takes_the_plain_path_with_one_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(forward_pass.logger, "warning_once", warnings.append)
    strategy = build_strategy("dirichlet", k=3)
    model = with_heads(make_model(), strategy)
    rows, remove = count_rows(model)

    sequences, mask, prompt_length, rollout = decode(model, strategy, cache_implementation="static")
    remove()
    logps = replay(model, strategy, sequences, mask, prompt_length, rollout)

    where = drawn(mask, prompt_length, rollout)
    assert set(rows) == {len(PROMPTS)}
    assert torch.allclose(logps[where], rollout.logps[where], atol=1e-5)
    assert len(warnings) == 1
    assert "plain path" in warnings[0]


def continued(model: PreTrainedModel, ids: Tensor, decoder: MixtureDecoder | None, **options: object) -> Tensor:
    options = {
        "max_new_tokens": 9,
        "do_sample": False,
        "pad_token_id": 0,
        "eos_token_id": list(range(3, 40)),
        **options,
    }
    return model.generate(ids, attention_mask=torch.ones_like(ids), custom_generate=decoder, **options)


def test_a_callers_cache_is_extended_and_keeps_its_rows() -> None:
    model, decoder = make_model(), MixtureDecoder(OneToken(), build_phases(make_tokenizer()))
    torch.manual_seed(0)
    ids = torch.randint(40, 259, (6, 40))
    ids[1] = ids[0]
    stock, ours = DynamicCache(), DynamicCache()
    ends = [149, 246, 61, 11, 66]

    for _ in range(3):
        expected = continued(model, ids, None, past_key_values=stock, eos_token_id=ends)
        sequences = continued(model, ids, decoder, past_key_values=ours, eos_token_id=ends)
        assert torch.equal(sequences, expected)
        assert ours.get_seq_length() == stock.get_seq_length() == expected.size(1) - 1
        for mine, other in zip(ours.layers, stock.layers, strict=True):
            assert torch.allclose(mine.keys, other.keys, atol=1e-5)
        ids = torch.cat([expected, torch.randint(40, 259, (6, 5))], dim=1)


def test_long_prompts_may_be_read_in_chunks() -> None:
    model, decoder = make_model(), MixtureDecoder(OneToken(), build_phases(make_tokenizer()))
    ids = torch.randint(40, 259, (2, 40)).repeat_interleave(2, dim=0)
    lengths = []
    hook = model.model.register_forward_pre_hook(
        lambda module, args, kwargs: lengths.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    sequences = continued(model, ids, decoder, prefill_chunk_size=16, eos_token_id=[])
    hook.remove()

    assert lengths[:4] == [(2, 16), (2, 16), (2, 8), (4, 1)]
    assert torch.equal(sequences, continued(model, ids, None, eos_token_id=[]))


def test_rows_with_a_repetition_penalty_leave_the_batch_too() -> None:
    model, decoder = make_model(), MixtureDecoder(OneToken(), build_phases(make_tokenizer()))
    ids = torch.randint(40, 259, (5, 9))
    rows, remove = count_rows(model)
    ours = continued(model, ids, decoder, repetition_penalty=1.3, max_new_tokens=30)
    remove()

    assert rows[-1] < 5
    assert torch.equal(ours, continued(model, ids, None, repetition_penalty=1.3, max_new_tokens=30))
    assert not torch.equal(ours, continued(model, ids, None, max_new_tokens=30)[:, : ours.size(1)])


@pytest.mark.skipif(
    Version(transformers.__version__) < Version("5.23"), reason="its processors ignore equal prompts only"
)
def test_a_callers_processor_can_be_used_again_after_rows_have_left() -> None:
    model, decoder = make_model(), MixtureDecoder(OneToken(), build_phases(make_tokenizer()))
    ids = torch.randint(40, 259, (5, 9))
    own = RepetitionPenaltyLogitsProcessor(1.3, prompt_ignore_length=torch.tensor([0, 9, 3, 9, 0]))

    first, second = (continued(model, ids, decoder, logits_processor=[own], max_new_tokens=30) for _ in range(2))

    assert torch.equal(first, second)
    assert torch.equal(first, continued(model, ids, None, logits_processor=[own], max_new_tokens=30))


def test_generate_stops_at_strings(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> None:
    torch.manual_seed(0)
    stops = [chr(code) for code in range(97, 110)]
    stopped = generate(model, tokenizer, ["Hi"] * 4, strategy="one_token", stop_strings=stops, max_new_tokens=40)

    assert any(text.endswith(tuple(stops)) for text in stopped.texts)
    assert not any(stop in text[:-1] for text in stopped.texts for stop in stops)


def test_rows_stay_where_a_processor_depends_on_their_position() -> None:
    model = make_model()
    rows, remove = count_rows(model)

    decode(
        model,
        OneToken(),
        prompts=["Hi"] * 8,
        max_new_tokens=30,
        eos_token_id=list(range(2, 200)),
        prefix_allowed_tokens_fn=lambda row, ids: [2] if row < 7 else list(range(200, 259)),
    )
    remove()

    assert set(rows[1:]) == {8}


def test_the_closing_token_is_fed_as_itself_and_so_is_all_after_it() -> None:
    tokenizer, model = make_tokenizer(), make_model()
    strategy = build_strategy("top_k", k=30)

    sequences, _, prompt_length, rollout = decode(
        model, strategy, stop_text="q", max_new_tokens=60, prompts=["Hi"] * 24, temperature=2.0
    )

    closed = rollout.closed_by == 0
    assert closed.any()
    for row in closed.nonzero().flatten().tolist():
        visible = sequences[row, prompt_length:].tolist()
        closing = visible.index(tokenizer.encode("q")[0])
        assert rollout.thinking_mask[row, : closing + 1].all()
        assert not rollout.thinking_mask[row, closing + 1 :].any()
        assert not rollout.mixture_mask[row, closing:].any()


@pytest.mark.parametrize("steps", [1, 8])
def test_thinking_begins_behind_the_start_text_and_is_mixed_from_its_first_token(
    steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding_loop, "steps_between_checks", lambda device: steps)

    sequences, _, prompt_length, rollout = decode(
        make_model(seed=3),
        build_strategy("top_k", k=4),
        prompts=["2+2="] * 24,
        start_text="+",
        max_new_tokens=30,
        eos_token_id=[],
    )

    seen = (sequences[:, prompt_length:] == make_tokenizer().encode("+")[0]).cumsum(dim=1) > 0
    begun = torch.cat([torch.zeros(24, 1, dtype=torch.bool), seen[:, :-1]], dim=1)
    assert 0.1 < begun.float().mean() < 0.9
    assert torch.equal(rollout.thinking_mask, begun)
    assert is_mixed(rollout.log_weights[begun]).all()


def test_before_the_start_text_tokens_are_drawn_from_the_whole_vocabulary() -> None:
    sequences, _, prompt_length, rollout = decode(
        make_model(), build_strategy("top_k", k=1), prompts=["Hi"] * 24, start_text="never", max_new_tokens=1
    )

    assert not rollout.thinking_mask.any()
    assert len(set(sequences[:, prompt_length].tolist())) > 1


def test_a_forced_tag_is_in_the_text_and_after_it_the_answer() -> None:
    tokenizer, model = make_tokenizer(), make_model()

    sequences, _, prompt_length, rollout = decode(
        model, build_strategy("top_k"), max_mixture_tokens=5, max_new_tokens=20, eos_token_id=[]
    )

    for row in range(len(sequences)):
        assert tokenizer.decode(sequences[row, prompt_length + 5 : prompt_length + 13]) == "</think>"
        assert rollout.forced_mask[row].nonzero().flatten().tolist() == list(range(5, 13))
        assert rollout.thinking_mask[row].nonzero().flatten().tolist() == list(range(5))
        assert rollout.mixture_mask[row].nonzero().flatten().tolist() == list(range(5))
        assert (rollout.logps[row, 5:13] == 0).all()


def test_generate_takes_texts_and_chats(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> None:
    chats = [[{"role": "user", "content": "Hi"}], [{"role": "user", "content": "Hello there"}]]

    texts = generate(model, tokenizer, ["Hi", "Hello"], strategy="top_k", max_new_tokens=6)
    answers = generate(model, tokenizer, chats, strategy=build_strategy("dirichlet"), max_new_tokens=6)

    assert len(texts.texts) == len(answers.texts) == 2
    assert texts.rollout.candidate_ids.shape[:2] == texts.completion_ids.shape


def test_what_cannot_be_done_is_refused(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> None:
    with pytest.raises(ValueError, match="`prompts` is empty"):
        generate(model, tokenizer, [])
    with pytest.raises(ValueError, match="Unknown strategy 'nope'"):
        generate(model, tokenizer, ["Hi"], strategy="nope")
    with pytest.raises(ValueError, match="`num_beams` must be 1"):
        generate(model, tokenizer, ["Hi"], num_beams=2, do_sample=False, max_new_tokens=2)
