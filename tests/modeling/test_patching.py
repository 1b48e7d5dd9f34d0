"""Patches of a model serve their own call alone, and leave nothing behind, in whichever order calls end."""

import copy
import pickle
from collections.abc import Callable, Iterator
from threading import Barrier, Thread
from typing import Any

import pytest
import torch
from conftest import make_model, make_tokenizer
from replaying import decode, drawn, replay, with_heads
from torch import Tensor, nn
from transformers import PreTrainedModel

from mot_trl import Mixture, MixtureDecoder, build_phases, build_strategy, generate
from mot_trl.modeling import cpu_linear
from mot_trl.modeling.cpu_linear import onednn_linears
from mot_trl.modeling.embedding import override_embeddings
from mot_trl.modeling.patching import evaluating
from mot_trl.strategies.base import argmax_weight
from mot_trl.strategies.mixture import MixtureInputs
from mot_trl.strategies.top_k import TopK
from mot_trl.trainer.replay import decoding_with

IDS = torch.tensor([[5, 6], [7, 8]])
NAMES = {"forward", "generate", "_can_checkpoint_with_cache"}

needs_onednn = pytest.mark.skipif(not cpu_linear._has_onednn(), reason="oneDNN has no AVX-512 here")


class Likeliest(TopK):
    """Mixtures without chance, so that threads need not share random numbers."""

    def draw(self, logps: Tensor) -> Mixture:
        mixture = super().draw(logps)
        return mixture._replace(visible_ids=argmax_weight(mixture.candidate_ids, mixture.log_weights))


def mixture_of(first: int, second: int) -> MixtureInputs:
    candidate_ids = torch.tensor([first, second]).expand(2, 1, 2)
    return MixtureInputs(candidate_ids, torch.tensor([0.25, 0.75]).log().expand(2, 1, 2), torch.ones(2, 1).bool())


def blended(model: PreTrainedModel, first: int, second: int) -> Tensor:
    weight = model.get_input_embeddings().weight.detach()
    return 0.25 * weight[first] + 0.75 * weight[second]


def last_input(model: PreTrainedModel) -> Tensor:
    return model.get_input_embeddings()(IDS)[0, -1].detach()


def left_behind(model: nn.Module) -> list[str]:
    return [f"{name}.{key}" for name, module in model.named_modules() for key in NAMES & set(vars(module))]


def together(*calls: Callable[[], Any]) -> list[Any]:
    """Run each call in a thread of its own; their results in order."""
    results: list[Any] = [None] * len(calls)

    def run(index: int) -> None:
        try:
            results[index] = calls[index]()
        except BaseException as error:
            results[index] = error

    threads = [Thread(target=run, args=(index,)) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


@pytest.mark.parametrize("leaves_first", [0, 1])
def test_threads_see_their_own_mixtures_whichever_leaves_first(model: PreTrainedModel, leaves_first: int) -> None:
    barrier = Barrier(2, timeout=30)

    def call(index: int) -> list[Tensor]:
        with override_embeddings(model) as override:
            override.inputs = mixture_of(10 + index, 20 + index)
            barrier.wait()
            seen = [last_input(model)]
            barrier.wait()
            if index != leaves_first:
                barrier.wait()
                seen.append(last_input(model))
        if index == leaves_first:
            seen.append(last_input(model))
            barrier.wait()
        return seen

    results = together(lambda: call(0), lambda: call(1))

    plain = model.get_input_embeddings().weight[6]
    for index, (inside, later) in enumerate(results):
        assert torch.allclose(inside, blended(model, 10 + index, 20 + index))
        assert torch.allclose(later, plain if index == leaves_first else inside)
    assert left_behind(model) == []
    assert torch.equal(last_input(model), plain)


def test_a_thread_without_mixtures_is_fed_its_tokens(model: PreTrainedModel) -> None:
    with override_embeddings(model) as override:
        override.inputs = mixture_of(10, 20)
        (other,) = together(lambda: last_input(model))

    assert torch.equal(other, model.get_input_embeddings().weight[6])


def test_nested_overrides_may_end_in_any_order(model: PreTrainedModel) -> None:
    outer, inner = override_embeddings(model), override_embeddings(model)

    outer.__enter__().inputs = mixture_of(10, 20)
    inner.__enter__().inputs = mixture_of(11, 21)
    both = last_input(model)
    outer.__exit__(None, None, None)
    after = last_input(model)
    inner.__exit__(None, None, None)

    assert torch.allclose(both, blended(model, 11, 21))
    assert torch.equal(after, both)
    assert torch.equal(last_input(model), model.get_input_embeddings().weight[6])
    assert left_behind(model) == []


def test_a_generator_that_another_thread_closes_leaves_nothing(model: PreTrainedModel) -> None:
    def overriding() -> Iterator[None]:
        with override_embeddings(model) as override:
            override.inputs = mixture_of(10, 20)
            yield

    suspended = overriding()
    next(suspended)
    assert torch.allclose(last_input(model), blended(model, 10, 20))
    together(suspended.close)

    assert left_behind(model) == []
    assert torch.equal(last_input(model), model.get_input_embeddings().weight[6])


def test_an_exception_leaves_nothing(model: PreTrainedModel) -> None:
    with (
        pytest.raises(KeyError),
        override_embeddings(model),
        onednn_linears(model, packed=True),
        evaluating(model.train()),
        decoding_with(model, MixtureDecoder(TopK(), build_phases(make_tokenizer()))),
    ):
        raise KeyError

    assert left_behind(model) == []
    assert all(module.training for module in model.modules())


def generated(model: PreTrainedModel, strategy: TopK, barrier: Barrier | None) -> tuple[Tensor, Tensor]:
    """Tokens and log-probs of a rollout whose every step waits for the other thread's."""

    class InStep:
        rowwise = True

        def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
            if barrier is not None:
                barrier.wait()
            return scores

    sequences, _, _, rollout = decode(model, strategy, logits_processor=[InStep()], eos_token_id=[])
    return sequences, rollout.logps


def test_two_threads_generate_with_one_model_what_each_does_alone() -> None:
    model, barrier = with_heads(make_model(), TopK()), Barrier(2, timeout=30)
    strategies = [Likeliest(k=2), Likeliest(k=4)]
    alone = [generated(model, strategy, None) for strategy in strategies]

    both = together(*(lambda each=each: generated(model, each, barrier) for each in strategies))

    for (sequences, logps), (expected, expected_logps) in zip(both, alone, strict=True):
        assert torch.equal(sequences, expected)
        assert torch.allclose(logps, expected_logps, atol=1e-5)
    assert not torch.equal(alone[0][1], alone[1][1])
    assert set(left_behind(model)) == {".forward"}, "only the candidate head's own forward stays"


def test_a_replay_is_right_while_another_thread_generates() -> None:
    strategy = build_strategy("dirichlet", k=3)
    model, barrier = with_heads(make_model(), strategy), Barrier(2, timeout=30)
    sequences, mask, prompt_length, rollout = decode(model, strategy)

    def wait(*_: object) -> None:
        barrier.wait()

    # Both make two passes, and are in the middle of the backbone at once.
    model.model.layers[0].register_forward_pre_hook(wait)

    logps, _ = together(
        lambda: replay(model, strategy, sequences, mask, prompt_length, rollout),
        lambda: decode(model, strategy, max_new_tokens=2, eos_token_id=[]),
    )

    where = drawn(mask, prompt_length, rollout)
    assert torch.allclose(logps[where], rollout.logps[where], atol=1e-5)


def test_a_decoder_that_threads_share_gives_each_its_own_record(model: PreTrainedModel) -> None:
    decoder, barrier = MixtureDecoder(TopK(), build_phases(make_tokenizer())), Barrier(2, timeout=30)

    def call(length: int) -> int:
        options = {"max_new_tokens": length, "eos_token_id": [], "pad_token_id": 0}
        model.generate(IDS, attention_mask=torch.ones_like(IDS), custom_generate=decoder, **options)
        barrier.wait()
        assert decoder.rollout is not None
        return decoder.rollout.logps.size(1)

    assert together(lambda: call(3), lambda: call(5)) == [3, 5]
    assert decoder.rollout is None


def test_texts_of_different_lengths_are_generated_by_two_threads_with_one_tokenizer(model: PreTrainedModel) -> None:
    tokenizer = make_tokenizer()
    prompts = [["a", "abcdef"], ["abc", "ab", "a"]] * 2
    call = lambda texts: generate(model, tokenizer, texts, max_new_tokens=3).completion_ids.shape[0]  # noqa: E731

    assert together(*(lambda each=each: call(each) for each in prompts)) == [2, 3, 2, 3]


def test_only_the_callers_thread_decodes_with_the_trainers_decoder(model: PreTrainedModel) -> None:
    phases = build_phases(make_tokenizer())
    decoder, other = MixtureDecoder(Likeliest(k=3), phases), MixtureDecoder(Likeliest(k=2), phases)
    options: dict[str, Any] = {"max_new_tokens": 4, "eos_token_id": [], "pad_token_id": 0, "do_sample": False}
    inputs = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS), **options}

    first, second = decoding_with(model, decoder), decoding_with(model, other)
    first.__enter__()
    (plain,) = together(lambda: (model.generate(**inputs), decoder.rollout))
    model.generate(**inputs, custom_generate=other)
    named = decoder.rollout, other.rollout
    second.__enter__()
    first.__exit__(None, None, None)
    model.generate(**inputs)
    second.__exit__(None, None, None)

    assert plain[1] is None
    assert torch.equal(plain[0], model.generate(**inputs))
    assert named[0] is None
    assert named[1] is not None
    assert decoder.rollout is None
    assert left_behind(model) == []


def test_calls_that_overlap_restore_each_modules_own_mode(model: PreTrainedModel) -> None:
    model.train()
    model.model.layers[0].eval()
    before = [module.training for module in model.modules()]

    first, second = evaluating(model), evaluating(model)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not any(module.training for module in model.modules())
    second.__exit__(None, None, None)

    assert [module.training for module in model.modules()] == before


@needs_onednn
def test_packed_weights_go_with_the_last_call_that_wants_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_linear, "MIN_WEIGHTS", 1)
    layer, inputs = nn.Linear(8, 16), torch.randn(3, 8)

    with torch.no_grad():
        first, second = onednn_linears(layer, packed=True), onednn_linears(layer)
        first.__enter__()
        second.__enter__()
        layer(inputs)
        first.__exit__(None, None, None)
        layer.weight.zero_()
        assert torch.equal(layer(inputs), layer.bias.expand(3, 16))
        second.__exit__(None, None, None)
        # An optimizer in another thread changes the weights that this call has packed.
        with onednn_linears(layer, packed=True):
            layer(inputs)
            layer.weight.add_(1)
            assert torch.allclose(layer(inputs), inputs.sum(-1, keepdim=True) + layer.bias, atol=1e-5)
    assert left_behind(layer) == []


def test_a_copy_that_is_made_during_a_call_is_an_ordinary_model(model: PreTrainedModel) -> None:
    with override_embeddings(model) as override:
        override.inputs = mixture_of(10, 20)
        copies = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]

    for other in copies:
        other.get_input_embeddings().weight.data.zero_()
        assert not last_input(other).any()
        with override_embeddings(other):
            pass
        assert left_behind(other) == []
    assert torch.equal(last_input(model), model.get_input_embeddings().weight[6])
