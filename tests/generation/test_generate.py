"""`generate`: batches of prompts, streaming, and formatting of the result."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import make_tokenizer
from tokenizers import processors
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from trl import GRPOTrainer

from mot_trl.generation.config import build_phases
from mot_trl.generation.decoder import MixtureDecoder
from mot_trl.generation.formatting import format_generation
from mot_trl.generation.generate import BatchTextStreamer, Generation, by_length, gather_rows, generate
from mot_trl.modeling.rollout import Rollout
from mot_trl.strategies.one_token import OneToken
from mot_trl.trainer.replay import decoding_with

TEXTS = ["a", "four score and seven years", "bb", "the quick brown fox"]


def greedily(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, **kwargs: object) -> Generation:
    return generate(model, tokenizer, TEXTS, do_sample=False, max_new_tokens=9, **kwargs)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 9])
def test_batches_by_length_give_what_one_prompt_alone_gives(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, batch_size: int
) -> None:
    together = greedily(model, tokenizer, batch_size=batch_size)

    alone = [generate(model, tokenizer, [text], do_sample=False, max_new_tokens=9).texts[0] for text in TEXTS]
    assert together.texts == alone
    assert len(set(alone)) > 1


def test_the_longest_prompts_come_first_and_equals_keep_their_order() -> None:
    assert by_length([1, 3, 2, 3, 1], 2) == [[1, 3], [2, 0], [4]]
    assert by_length([1, 3, 2], None) == [[0, 1, 2]]


def test_rows_of_batches_come_back_with_their_own_records() -> None:
    def batch(rows: list[int], *, length: int, num_candidates: int) -> tuple[list[int], torch.Tensor, Rollout]:
        rollout = Rollout.empty(len(rows), length, num_candidates=num_candidates, device="cpu")
        rollout.candidate_ids[:, 0, num_candidates - 1] = torch.tensor(rows, dtype=torch.int32)
        rollout.closed_by[:] = torch.tensor(rows)
        return rows, torch.tensor(rows).unsqueeze(-1).expand(-1, length), rollout

    ids, rollout = gather_rows(
        [batch([2, 0], length=3, num_candidates=2), batch([1], length=5, num_candidates=1)], pad_token_id=9
    )

    assert ids.tolist() == [[0, 0, 0, 9, 9], [1, 1, 1, 1, 1], [2, 2, 2, 9, 9]]
    assert rollout.closed_by.tolist() == [0, 1, 2]
    assert rollout.candidate_ids[:, 0].tolist() == [[0, 0], [1, 0], [0, 2]]
    assert rollout.log_weights[1, 0].tolist() == [0.0, -torch.inf]


def test_several_samples_of_a_prompt_stay_side_by_side(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    once = greedily(model, tokenizer)

    sure = {"do_sample": True, "temperature": 1e-6, "strategy": "one_token", "max_new_tokens": 9}
    thrice = generate(model, tokenizer, TEXTS, num_return_sequences=3, batch_size=2, **sure)

    assert thrice.texts == [text for text in once.texts for _ in range(3)]
    assert thrice.rollout.logps.size(0) == 12


def test_streamed_pieces_add_up_to_the_texts(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    pieces: dict[int, str] = {}

    def keep(row: int, text: str) -> None:
        pieces[row] = pieces.get(row, "") + text

    torch.manual_seed(0)
    generation = generate(model, tokenizer, TEXTS, max_new_tokens=12, batch_size=3, on_text=keep)

    assert [pieces.get(row, "") for row in range(len(TEXTS))] == generation.texts


def test_a_character_of_several_tokens_is_streamed_whole(tokenizer: PreTrainedTokenizerBase) -> None:
    said: list[tuple[int, str]] = []
    streamer = BatchTextStreamer(tokenizer, [7], lambda row, text: said.append((row, text)))

    for token_id in tokenizer.encode("é€x"):
        streamer.put(torch.tensor([token_id]))
    streamer.put(torch.tensor([tokenizer.eos_token_id]))
    streamer.put(torch.tensor([tokenizer.pad_token_id]))
    streamer.end()

    assert said == [(7, "é"), (7, "€"), (7, "x")]


def test_the_progress_bar_counts_prompts(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, capsys: pytest.CaptureFixture[str]
) -> None:
    greedily(model, tokenizer, batch_size=2, progress=True)
    loud = capsys.readouterr().err
    greedily(model, tokenizer, batch_size=2)

    assert "4/4" in loud
    assert capsys.readouterr().err == ""


class Answering:
    """Makes a model say a text: the likeliest next token is the text's."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, text: str) -> None:
        self.token_ids = [*tokenizer.encode(text), tokenizer.eos_token_id]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self.start = getattr(self, "start", input_ids.size(1))
        forced = torch.full_like(scores, -1e4)
        forced[:, self.token_ids[input_ids.size(1) - self.start]] = 0
        return forced


@pytest.mark.parametrize(
    ("prompt", "said", "answer"),
    [
        ("Q", "so</think> <answer>42</answer>", "42"),
        ("Q", "just words", None),
        ("Q <think>\n", "maybe #### 42", None),
        ("Q <think>\n", "hm</think>#### 42", "42"),
    ],
)
def test_answers_are_read_after_the_thinking(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompt: str, said: str, answer: str | None
) -> None:
    generation = generate(model, tokenizer, [prompt], max_new_tokens=60, logits_processor=[Answering(tokenizer, said)])

    assert generation.texts == [said]
    assert generation.answers == [answer]


@pytest.mark.parametrize(("prompts", "batch_size"), [([], None), (["a"], 0)])
def test_nothing_to_do_is_an_error(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: list[str], batch_size: int | None
) -> None:
    with pytest.raises(ValueError, match=r"prompts|batch_size"):
        generate(model, tokenizer, prompts, batch_size=batch_size, max_new_tokens=2)


def test_a_formatted_generation_names_the_mixtures_the_forced_tag_and_the_answer(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    phases = build_phases(tokenizer, max_mixture_tokens=2)
    torch.manual_seed(0)
    generation = generate(model, tokenizer, ["Q"], phases=phases, max_new_tokens=14)

    lines = format_generation(generation._replace(answers=["7"]), tokenizer).splitlines()

    first = generation.rollout.candidate_ids[0, 0, 0].item()
    weight = generation.rollout.log_weights[0, 0, 0].exp().item()
    assert lines[0].startswith("    0  ")
    assert f"{weight:.2f} {tokenizer.decode(first)!r}" in lines[0]
    assert [line.split()[-1] for line in lines[2:10]] == ["forced"] * 8
    assert lines[-1] == "Answer: 7"


def test_the_package_gives_the_function_and_not_its_module() -> None:
    from mot_trl.generation import generate as exported

    assert exported is generate
    assert sys.modules["mot_trl.generation.generate"].generate is generate


def with_beginning() -> PreTrainedTokenizerFast:
    """A tokenizer that puts token 1 before each text, as Llama's does."""
    tokenizer = make_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)]
    )
    return tokenizer


def test_prompts_have_the_tokens_that_they_have_in_training(model: PreTrainedModel) -> None:
    tokenizer = with_beginning()
    read: list[Tensor] = []
    trainer: Any = SimpleNamespace(
        processing_class=tokenizer,
        tools=None,
        chat_template=None,
        chat_template_kwargs={},
        environment_factories=None,
        _is_vlm=False,
    )

    def keep(input_ids: Tensor, scores: Tensor) -> Tensor:
        read.append(input_ids)
        return scores

    texts, chats = ["Hi", "Hello"], [[{"role": "user", "content": "Hi"}], [{"role": "user", "content": "Hello"}]]
    for prompts in (texts, chats):
        read.clear()
        generate(model, tokenizer, prompts, max_new_tokens=1, logits_processor=[keep])
        theirs, _, _ = GRPOTrainer._tokenize_prompts(trainer, prompts)
        padded = [[0] * (len(theirs[1]) - len(ids)) + ids for ids in theirs]
        assert read[0].tolist() == padded
        assert all(ids[0] == 1 for ids in theirs)


def test_an_empty_prompt_is_refused(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(ValueError, match="Prompt 1 is empty"):
        generate(model, tokenizer, ["Hi", ""], max_new_tokens=2)
    decoder = MixtureDecoder(OneToken(), build_phases(tokenizer))
    ids = torch.tensor([[5, 6], [0, 0]])
    with pytest.raises(ValueError, match="row 1 is empty"):
        model.generate(ids, attention_mask=(ids > 0).long(), custom_generate=decoder, max_new_tokens=2)
    with decoding_with(model, decoder), pytest.raises(ValueError, match="row 0 is empty"):
        model.generate(input_ids=ids[:, :0], attention_mask=ids[:, :0], max_new_tokens=2)
    # A beginning is enough to go on from.
    assert len(generate(model, with_beginning(), [""], max_new_tokens=2).texts) == 1


@pytest.mark.untyped("what is no list of prompts, and no strategy")
@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ("Nine text", r"is one text, .*give `\[text\]`"),
        ([{"role": "user", "content": "Hi"}], r"is one chat, .*give `\[chat\]`"),
        ({"role": "user", "content": "Hi"}, "is one message"),
        ([5, 6, 7], "is one prompt's tokens"),
        (["Hi", 3], "Prompt 1 is neither a text nor a list"),
        (["Hi", None], "Prompt 1 is neither a text nor a list"),
        (["Hi", {"role": "user", "content": "Hi"}], "Prompt 1 is neither a text nor a list"),
    ],
)
def test_a_single_prompt_is_not_taken_for_several(
    prompts: Any, message: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    with pytest.raises(TypeError, match=message):
        generate(model, tokenizer, prompts, max_new_tokens=2)


@pytest.mark.untyped("what is no list of prompts, and no strategy")
@pytest.mark.parametrize(
    ("strategy", "message"),
    [(object(), "is no strategy, for it lacks draw, log_prob, exact"), (OneToken, r"a class: give `OneToken\(\)`")],
)
def test_a_strategy_without_a_draw_is_refused(
    strategy: Any, message: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    with pytest.raises(TypeError, match=message):
        generate(model, tokenizer, ["Hi"], strategy=strategy, max_new_tokens=2)


def test_a_budget_without_room_for_its_tag_is_refused_at_once(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    phases = build_phases(tokenizer, max_mixture_tokens=4)

    with pytest.raises(ValueError, match="allow 13 tokens"):
        generate(model, tokenizer, ["Hi"], phases=phases, max_new_tokens=12)
