"""Mixtures through an unmodified vLLM obey the laws of our own decoder, under pressure, too.

One engine serves most tests: few places, small chunks, too small a cache, and scheduling ahead of the results.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from conftest import make_model, make_tokenizer
from most_likely import MostLikely
from torch import Tensor
from vllm_engines import (
    PROMPTS,
    SMALL,
    engine_for,
    largest_gap,
    needs_vllm,
    pressed_engine,
    scheduler_of,
    state_of,
    tiny_checkpoint,
    tiny_engine,
)

from mot_trl import PRESETS, DecoderConfig, Rollout, generate
from mot_trl.engines.vllm import ask_for_records, generate_with_record, load_engine, record_shape_of
from mot_trl.engines.vllm_records import read_records
from mot_trl.evaluation.run import EvaluationConfig, run
from mot_trl.generation.config import build_phases, resolve
from mot_trl.generation.formatting import format_generation
from mot_trl.generation.generate import Generation
from mot_trl.strategies import STRATEGIES
from mot_trl.strategies.top_k import TopK
from mot_trl.tasks.nano.model import NANO, load_nano

pytestmark = needs_vllm

END = 2


def params(**settings: Any) -> Any:
    from vllm import SamplingParams

    return SamplingParams(**{"temperature": 1.0, "max_tokens": 12, **settings})


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_replay_equals_generation(strategy: str) -> None:
    llm, decoder = engine_for(strategy=strategy)

    ids, record = generate_with_record(llm, PROMPTS, params())

    assert strategy == "one_token" or record.mixture_mask.any()
    assert largest_gap(decoder, PROMPTS, ids, record) < 2e-5


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_replay(preset: str) -> None:
    llm, decoder = engine_for(**resolve({"experiment_name": preset}).to_dict())

    ids, record = generate_with_record(llm, PROMPTS[:2], params())

    assert largest_gap(decoder, PROMPTS[:2], ids, record) < 2e-5


def test_records_equal_those_of_our_decoder() -> None:
    llm, decoder = engine_for(strategy="top_k")
    decoder = replace(decoder, strategy=MostLikely())
    llm.collective_rpc("use_decoder", args=(decoder,))  # a strategy that no name stands for

    ids, record = generate_with_record(llm, PROMPTS, params(ignore_eos=True))

    model = make_model("llama", head_dim=32)
    settings = {"do_sample": True, "top_k": 0, "max_new_tokens": 12, "eos_token_id": None, "pad_token_id": 0}
    for row, prompt in enumerate(PROMPTS):
        sequence = model.generate(torch.tensor([prompt]), custom_generate=decoder, **settings)
        assert torch.equal(sequence[0, len(prompt) :], ids[row])
        mine, ours = record.rows(row, row + 1).tensors(), decoder.rollout.tensors()
        assert mine["mixture_mask"][:, :-1].all()
        for name, tensor in ours.items():
            torch.testing.assert_close(mine[name], tensor, atol=2e-5, rtol=0)


def test_thoughts_of_nano_equal_those_of_our_decoder() -> None:
    model, tokenizer = load_nano()
    chats = [[{"role": "user", "content": f"What is {number} + 5?"}] for number in (3, 12, 40, 77, 8)]
    prompts = tokenizer.apply_chat_template(chats, add_generation_prompt=True, tokenize=True)["input_ids"]
    decoder = replace(DecoderConfig().build(tokenizer), strategy=MostLikely())
    llm = load_engine(str(NANO), DecoderConfig(), **SMALL)
    llm.collective_rpc("use_decoder", args=(decoder,))

    ids, record = generate_with_record(llm, prompts, params(max_tokens=48))

    assert (record.closed_by == 0).sum() > 2
    for row, prompt in enumerate(prompts):
        settings = {"do_sample": True, "top_k": 0, "max_new_tokens": 48, "pad_token_id": 0}
        sequence = model.generate(torch.tensor([prompt]), custom_generate=decoder, **settings)[0, len(prompt) :]
        ours = decoder.rollout
        thoughts = int(ours.thinking_mask.sum())  # what follows is sampled
        assert record.thinking_mask[row].sum() == thoughts
        assert torch.equal(ids[row, :thoughts], sequence[:thoughts])
        for name in ("candidate_ids", "mixture_mask"):
            assert torch.equal(getattr(record, name)[row, :thoughts], getattr(ours, name)[0, :thoughts])
        for name in ("log_weights", "logps"):
            mine, theirs = getattr(record, name)[row, :thoughts].exp(), getattr(ours, name)[0, :thoughts].exp()
            torch.testing.assert_close(mine, theirs, atol=2e-5, rtol=0)
        assert record.closed_by[row] == ours.closed_by[0]


# Eight requests in four places, with a cache for about two.
CROWD = [prompt for prompt in PROMPTS for _ in range(2)]


def run_crowd(llm: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, Rollout]:
    scheduler, preempted = scheduler_of(llm), []
    own: Callable[..., None] = scheduler._preempt_request
    monkeypatch.setattr(scheduler, "_preempt_request", lambda *args, **kw: preempted.append(own(*args, **kw)))
    result = generate_with_record(llm, PROMPTS, params(n=2, max_tokens=40, ignore_eos=True))
    assert preempted
    return result


def test_preempted_requests_blend_again(monkeypatch: pytest.MonkeyPatch) -> None:
    llm, decoder = engine_for(strategy="dirichlet")

    ids, record = run_crowd(llm, monkeypatch)

    assert largest_gap(decoder, CROWD, ids, record) < 2e-5


def test_a_request_that_comes_back_finds_its_own_mixtures_in_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    llm, decoder = engine_for(strategy="dirichlet")
    engine, scheduler, settings = llm.llm_engine, scheduler_of(llm), params(max_tokens=44, ignore_eos=True)
    ask_for_records(llm, settings)
    manager, found = scheduler.kv_cache_manager, []
    own: Callable[..., Any] = manager.get_computed_blocks
    monkeypatch.setattr(manager, "get_computed_blocks", lambda request: found.append(own(request)) or found[-1])

    engine.add_request("alone", {"prompt_token_ids": PROMPTS[0]}, settings)
    outputs = [output for _ in range(36) for output in engine.step()]
    scheduler._preempt_request(scheduler.running.pop(), 0.0)
    while engine.has_unfinished_requests():
        outputs += engine.step()

    assert found[-1][1] == 32  # a block of 5 tokens of the prompt and 27 mixtures
    completions = outputs[-1].outputs
    record = read_records(completions, record_shape_of(llm))
    assert largest_gap(decoder, PROMPTS[:1], torch.tensor([completions[0].token_ids]), record) < 2e-5


def test_a_request_that_forgot_its_mixtures_would_show(monkeypatch: pytest.MonkeyPatch) -> None:
    llm, decoder = engine_for(strategy="dirichlet")
    slots = state_of(llm).slots
    own = slots.resume

    def forget(request_id: str) -> int:
        row = own(request_id)
        slots.mixture_mask[row] = False
        return row

    monkeypatch.setattr(slots, "resume", forget)
    ids, record = run_crowd(llm, monkeypatch)

    assert largest_gap(decoder, CROWD, ids, record) > 1e-2


def test_prompts_are_shared_and_mixtures_are_not() -> None:
    llm, decoder = engine_for(strategy="dirichlet")
    settings = params(max_tokens=40, ignore_eos=True)
    ask_for_records(llm, settings)
    ids, record = generate_with_record(llm, PROMPTS[-1:], settings)
    turn = [*PROMPTS[-1], *ids[0].tolist()[:36]]

    # The same tokens again, as a later turn has them: read as themselves, although they were fed as mixtures.
    (later,) = llm.generate([{"prompt_token_ids": turn}], settings, use_tqdm=False)
    again, after = generate_with_record(llm, [turn], params(max_tokens=4))

    assert record.mixture_mask[0, :36].all()
    assert later.num_cached_tokens == 64  # two blocks of the prompt of 70
    assert largest_gap(decoder, [turn], again, after) < 2e-5


@pytest.mark.parametrize(
    "settings",
    [
        {"max_mixture_tokens": 4},
        {"cold_stop_threshold": 9.0, "cold_stop_patience": 3},
        {"start_text": "a"},
        {"stop_text": "e", "mixture_score": "expected"},
    ],
)
def test_phases_are_those_of_our_decoder(settings: dict[str, Any]) -> None:
    llm, decoder = engine_for(strategy="top_k", strategy_kwargs={"k": 3}, **settings)

    ids, record = generate_with_record(llm, PROMPTS[:3], params(max_tokens=20))

    assert largest_gap(decoder, PROMPTS[:3], ids, record) < 2e-5
    if "max_mixture_tokens" in settings:
        tag = make_tokenizer().encode("</think>")
        assert ids[0, 4 : 4 + len(tag)].tolist() == tag


def test_a_stop_token_ends_a_row_in_the_middle_of_its_thoughts() -> None:
    llm, _ = engine_for(strategy="dirichlet", max_mixture_tokens=3)
    stops = [token for token in range(3, 259) if token % 2]

    ids, record = generate_with_record(llm, CROWD, params(max_tokens=20, stop_token_ids=stops))

    lengths = [next((i + 1 for i, token in enumerate(row) if token in stops), len(row)) for row in ids.tolist()]
    assert min(lengths) < 3
    for row, length in enumerate(lengths):
        if length <= 3:
            assert record.closed_by[row] == -1
            assert not record.forced_mask[row].any()
            assert record.thinking_mask[row].sum() == length


def test_greedy_requests_go_beside_sampled_ones() -> None:
    llm, _ = engine_for(strategy="dirichlet")
    settings = [params(temperature=0.0), params()]
    for each in settings:
        ask_for_records(llm, each)

    prompts = [{"prompt_token_ids": PROMPTS[0]}] * 2
    greedy, sampled = (each.outputs[0] for each in llm.generate(prompts, settings, use_tqdm=False))

    model, prompt = make_model("llama", head_dim=32), torch.tensor([PROMPTS[0]])
    theirs = model.generate(prompt, do_sample=False, max_new_tokens=12, eos_token_id=END, pad_token_id=0)
    assert list(greedy.token_ids) == theirs[0, prompt.size(1) :].tolist()
    assert list(sampled.token_ids) != list(greedy.token_ids)


def test_filters_shape_what_mixtures_are_drawn_from() -> None:
    llm, _ = engine_for(strategy="dirichlet", strategy_kwargs={"k": 4})

    _, record = generate_with_record(llm, PROMPTS[:2], params(allowed_token_ids=[5, 6], max_tokens=6))

    weighted = record.log_weights.exp() > 0
    assert torch.isin(record.candidate_ids[weighted & record.thinking_mask[..., None]], torch.tensor([5, 6])).all()


def test_aborted_requests_free_their_rows() -> None:
    llm, _ = engine_for(strategy="dirichlet")
    engine, slots = llm.llm_engine, state_of(llm).slots
    settings = params(max_tokens=40, ignore_eos=True)
    for number in range(6):
        engine.add_request(f"abort {number}", {"prompt_token_ids": PROMPTS[0]}, settings)
    for _ in range(4):
        engine.step()
    assert slots._row_of

    engine.abort_request([f"abort {number}" for number in range(6)])
    generate_with_record(llm, PROMPTS[:1], params(max_tokens=2))
    engine.step()

    assert not slots._row_of
    assert len(slots._left) == 4
    assert not state_of(llm)._index_of


def test_nan_logits_end_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    llm, _ = engine_for(strategy="dirichlet")
    model = llm.llm_engine.model_executor.driver_worker.model_runner.model
    own = model.compute_logits
    monkeypatch.setattr(model, "compute_logits", lambda *args: own(*args) * torch.nan)

    ids, record = generate_with_record(llm, PROMPTS[:1], params())

    assert ids.tolist() == [[END]]
    assert record.non_finite.all()


def test_an_engine_of_plain_tokens_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    llm, _ = engine_for(strategy="dirichlet")
    runner = llm.llm_engine.model_executor.driver_worker.model_runner
    monkeypatch.setattr("vllm.LLM", type("LLM", (), {"__new__": lambda cls, **arguments: llm}))

    assert load_engine(tiny_checkpoint(), DecoderConfig()) is llm
    monkeypatch.setattr(runner, "model_state", object())
    with pytest.raises(RuntimeError, match="fell back to its first model runner"):
        load_engine(tiny_checkpoint(), DecoderConfig())


def test_other_versions_architectures_and_settings_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="set vLLM's `scheduler_cls` themselves"):
        tiny_engine(scheduler_cls="vllm.v1.core.sched.scheduler.Scheduler")
    for name, value in {"scheduling_policy": "priority", "enable_lora": True}.items():
        with pytest.raises(ValueError, match=f"`{name}`"):
            tiny_engine(**{name: value})
    monkeypatch.setattr("mot_trl.engines.vllm.ARCHITECTURES", ("Qwen2ForCausalLM",))
    with pytest.raises(ValueError, match="LlamaForCausalLM was not tried with mixtures on vLLM"):
        tiny_engine()
    monkeypatch.setattr("vllm.__version__", "0.31.2")
    with pytest.raises(ValueError, match=r"tried with vLLM 0.29 and 0.30, and 0.31.2 is installed"):
        tiny_engine()


def test_a_request_with_a_seed_of_its_own_is_refused() -> None:
    llm, _ = engine_for(strategy="dirichlet")

    with pytest.raises(ValueError, match="`seed` of a request"):
        generate_with_record(llm, PROMPTS[:1], params(seed=1))


def test_bfloat16_and_synchronous_scheduling() -> None:
    """The gap in half precision is of another size; it is printed, and bounded loosely."""
    decoder = DecoderConfig(strategy="dirichlet")
    llm = tiny_engine(decoder=decoder, dtype="bfloat16", async_scheduling=False)

    ids, record = generate_with_record(llm, PROMPTS, params())

    gap = largest_gap(decoder.build(make_tokenizer()), PROMPTS, ids, record, dtype=torch.bfloat16)
    print(f"largest gap in bfloat16: {gap:.3f} nats")
    assert gap < 1.0


TEXTS = ["Why?", "Count to 30, please.", "a"]


def of_both_engines(llm: Any, **settings: Any) -> list[Generation]:
    """What `generate` returns with our own decoder, and with vLLM in its place."""
    ours = generate(make_model("llama", head_dim=32), make_tokenizer(), TEXTS, **settings)
    return [ours, generate(None, make_tokenizer(), TEXTS, engine=llm, **settings)]


@pytest.mark.parametrize(
    "settings",
    [
        {"strategy": MostLikely(), "eos_token_id": [], "num_return_sequences": 2},
        {"strategy": "dirichlet", "phases": build_phases(make_tokenizer(), max_mixture_tokens=4), "do_sample": False},
        {"strategy": "one_token", "do_sample": False, "stop_strings": list("aeiou")},
    ],
)
def test_generate_gives_the_same_texts_records_and_tables(settings: dict[str, Any]) -> None:
    ours, theirs = of_both_engines(pressed_engine(), max_new_tokens=14, **settings)

    assert theirs[:2] == ours[:2]
    assert torch.equal(theirs.completion_ids, ours.completion_ids)
    for name, tensor in ours.rollout.tensors().items():
        mine = getattr(theirs.rollout, name)
        width = min(mine.size(-1), tensor.size(-1)) if mine.dim() == 3 else None  # greedy needs one candidate
        torch.testing.assert_close(mine[..., :width], tensor[..., :width], atol=2e-5, rtol=0)
    for row in range(len(ours.texts)):
        assert format_generation(theirs, make_tokenizer(), row=row) == format_generation(
            ours, make_tokenizer(), row=row
        )


def test_torchs_random_state_decides_what_an_engine_draws() -> None:
    def draw(seed: int) -> list[str]:
        pressed_engine().reset_prefix_cache()  # else the second run has fewer steps
        torch.manual_seed(seed)
        return generate(None, make_tokenizer(), TEXTS, engine=pressed_engine(), max_new_tokens=8).texts

    assert draw(1) == draw(1) != draw(2)


def test_an_engine_thinks_as_it_was_made_unless_it_is_told_otherwise() -> None:
    llm, tokenizer = pressed_engine(), make_tokenizer()

    told = generate(None, tokenizer, TEXTS, engine=llm, strategy=TopK(k=5), max_new_tokens=4)
    own = generate(None, tokenizer, TEXTS, engine=llm, max_new_tokens=4)

    assert told.rollout.num_candidates == 5
    assert own.rollout.num_candidates == DecoderConfig().complete().strategy_kwargs["k"] != 5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"typical_p": 0.5, "max_new_tokens": 4}, "vLLM takes no `typical_p`; it takes"),
        ({}, "Set `max_new_tokens`"),
        ({"on_text": print}, "`on_text` and `history` need the library's own decoder"),
    ],
)
def test_what_an_engine_cannot_do_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generate(None, make_tokenizer(), TEXTS, engine=pressed_engine(), **settings)


TASK = """
def load(split):
    return [{"prompt": [{"role": "user", "content": text}], "answer": "7"} for text in ("Why?", "3 + 4?", "a")]

def vowels(completions, **_):
    return [float(sum(letter in "aeiou" for letter in done[0]["content"]) % 2) for done in completions]
"""


def test_an_evaluation_takes_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "task.py").write_text(TASK)
    monkeypatch.syspath_prepend(tmp_path)
    # It ends the process's group, and the other engines here run in this process.
    monkeypatch.setattr(Accelerator, "end_training", lambda accelerator: None)

    def settings(engine: str, folder: str) -> EvaluationConfig:
        small = {"max_model_len": 256, "enforce_eager": True, "kv_cache_memory_bytes": 1 << 26, "block_size": 32}
        return EvaluationConfig(
            models=[tiny_checkpoint()],
            strategies=["one_token", "top_k:k=3"],
            task="small.task",
            reward="vowels",
            max_new_tokens=6,
            temperature=0.01,  # the most likely token alone, so that both engines must agree
            cpu=True,
            engine=engine,
            vllm_engine_kwargs=small if engine == "vllm" else None,
            output_dir=str(tmp_path / folder),
        )

    reports = [run(settings(engine, engine)) for engine in ("transformers", "vllm")]

    assert reports[0] == reports[1]
    for arm in ("one_token", "top_k_k=3"):
        ours, theirs = (next((tmp_path / engine).glob(f"*{arm}")) for engine in ("transformers", "vllm"))
        assert (ours / "samples.jsonl").read_bytes() == (theirs / "samples.jsonl").read_bytes()
    with pytest.raises(ValueError, match="engine was 'vllm' and is None"):
        run(settings("transformers", "vllm"))
