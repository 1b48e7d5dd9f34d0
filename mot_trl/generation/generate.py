"""Complete texts and chats with mixtures, in batches of prompts of similar length, and stream their text."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Int
from peft import PeftModel
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase, StoppingCriteriaList, StopStringCriteria
from transformers.generation.streamers import BaseStreamer
from transformers.utils.logging import tqdm

from mot_trl.generation.config import DecoderConfig, build_phases
from mot_trl.generation.decoder import MixtureDecoder
from mot_trl.generation.ignored_settings import check_settings
from mot_trl.generation.phases import Phases
from mot_trl.modeling.distributed import input_device
from mot_trl.modeling.rollout import Rollout
from mot_trl.rewards.answer import THINK_OPEN, final_answer
from mot_trl.strategies import Strategy, build_strategy

# Enough to hold `<think>` and the white space behind it, whatever the tokenizer.
OPENING_TOKENS = 32


class Generation(NamedTuple):
    r"""Result of `generate`: one entry or row a completion, in the order of the prompts.

    Attributes:
        texts: Completions as text, without special tokens.
        answers: What `\boxed{}`, `<answer>` tags or `####` mark after the thinking; None where nothing is marked.
        completion_ids: Their visible tokens, padded on the right.
        rollout: What was drawn at each token.
    """

    texts: list[str]
    answers: list[str | None]
    completion_ids: Int[Tensor, "B C"]
    rollout: Rollout


@runtime_checkable
class Engine(Protocol):
    """What generates instead of our own decoder, such as `mot_trl.engines.vllm.load_engine` makes."""

    def complete(
        self, prompt_ids: list[list[int]], decoder: MixtureDecoder | None, **generation_kwargs: Any
    ) -> tuple[Int[Tensor, "B C"], Rollout]:
        """Complete prompts as the decoder does (None: the engine's own); the completions are padded on the right."""
        ...


def generate(
    model: PreTrainedModel | PeftModel | None,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str] | Sequence[list[dict[str, str]]] | Sequence[list[int]],
    *,
    strategy: Strategy | str | None = None,
    phases: Phases | None = None,
    decoder: MixtureDecoder | None = None,
    engine: Engine | None = None,
    history: Rollout | None = None,
    batch_size: int | None = None,
    progress: bool = False,
    on_text: Callable[[int, str], None] | None = None,
    **generation_kwargs: Any,
) -> Generation:
    """Complete prompts, thinking in mixtures until `</think>`.

    Args:
        model: May be None with an engine, which has its own.
        tokenizer: The model's. Its padding token is set to the end-of-sequence token if it has none.
        prompts: Texts, or chats, formatted with the tokenizer's chat template, or token ids. As in training, a text
            gets the special tokens that its tokenizer adds, such as one at the beginning.
        strategy: A strategy, or the name of one with default options (by default `top_k`).
        phases: When thinking begins and ends; by default from the first token to `</think>`.
        decoder: Decodes instead of one made of `strategy` and `phases`; a trainer's, say.
        engine: Generates in the model's place; without strategy, phases and decoder, as it was set up.
        history: What was drawn in the last tokens of prompts given as ids, a row a prompt: the earlier turns of
            conversations, as `Conversations.history` gives them, which the model reads again as they were.
        batch_size: Prompts decoded together; by default all. Prompts of similar length share a batch, and the longest
            come first.
        on_text: Called with a completion's index and its new text, as text arrives.
        generation_kwargs: As for transformers' `generate`: `max_new_tokens`, `temperature`, `stop_strings` ...
            Sampling is on. With `num_return_sequences=n`, completions `i * n` to `i * n + n - 1` are prompt `i`'s.

    Raises:
        ValueError: `prompts` or one of them is empty, `batch_size` is below 1, the strategy is unknown, the budget for
            thinking leaves no room for an answer, a setting of `generate` would be ignored, `history` has not the
            prompts' rows, or the engine cannot do what an argument asks for.
        TypeError: `prompts` is a single prompt, or one of them is neither text, chat nor token ids.
        RuntimeError: The model's own `generate` did not use the decoder.
    """
    _check_prompts(prompts)
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"`batch_size={batch_size}` is a number of prompts, so it must be at least 1.")
    if model is None and engine is None:
        raise ValueError("Give a model, or an `engine` that generates in its place.")
    if engine is not None and (on_text is not None or history is not None):
        raise ValueError("`on_text` and `history` need the library's own decoder; leave them or `engine` out.")
    check_settings(generation_kwargs)
    if history is not None and len(history.lengths) != len(prompts):
        raise ValueError(f"`history` has {len(history.lengths)} rows for {len(prompts)} prompts; give a row a prompt.")
    # Padding needs some token; which one does not matter, since the mask hides it and the loop knows where rows end.
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if decoder is None and (engine is None or strategy is not None or phases is not None):
        name = DecoderConfig.strategy if strategy is None else strategy
        built = build_strategy(name) if isinstance(name, str) else name
        decoder = MixtureDecoder(built, phases or build_phases(tokenizer))
    if decoder is not None and (longest := generation_kwargs.get("max_new_tokens")) is not None:
        decoder.phases.check_room(longest)
    samples = generation_kwargs.get("num_return_sequences") or 1
    prompt_ids = [_encode(tokenizer, prompt) for prompt in prompts]
    if empty := [index for index, ids in enumerate(prompt_ids) if not ids]:
        raise ValueError(f"Prompt {empty[0]} is empty; leave it out, or give it some text.")
    decoded = []
    with tqdm(total=len(prompts), desc="Generating", unit="prompt", disable=not progress) as bar:
        for batch in by_length([len(ids) for ids in prompt_ids], batch_size):
            rows = [index * samples + sample for index in batch for sample in range(samples)]
            options = dict(generation_kwargs)
            if on_text is not None:
                options["token_streamer"] = BatchTextStreamer(tokenizer, rows, on_text)
            batch_ids = [prompt_ids[index] for index in batch]
            if history is not None:
                width = max(map(len, batch_ids))
                options["history"] = _select(history, rows=[row // samples for row in rows], width=width)
            if engine is None:
                completed = _decode(model, tokenizer, batch_ids, decoder, **options)
            else:
                options.setdefault("pad_token_id", tokenizer.pad_token_id or 0)
                completed = engine.complete(batch_ids, decoder, **options)
            decoded.append((rows, *completed))
            bar.update(len(batch))
    completion_ids, rollout = gather_rows(decoded, pad_token_id=tokenizer.pad_token_id or 0)
    completions = tokenizer.batch_decode(completion_ids, skip_special_tokens=True)
    # A chat template may open the thinking in the prompt; such a completion has no answer until it closes it.
    texts = tokenizer.batch_decode([ids[-OPENING_TOKENS:] for ids in prompt_ids])
    opened = [texts[row // samples].rstrip().endswith(THINK_OPEN) for row in range(len(completions))]
    answers = [final_answer(text, opened=flag) for text, flag in zip(completions, opened, strict=True)]
    return Generation(completions, answers, completion_ids, rollout)


def _check_prompts(prompts: Any) -> None:
    one = "text" if isinstance(prompts, str) else None
    if one is None and not len(prompts):
        raise ValueError("`prompts` is empty; give at least one text or chat.")
    # The parts of a single prompt would each be completed as if it were a prompt of its own.
    if isinstance(prompts, Mapping) or isinstance(prompts[0], Mapping):
        one = "message" if isinstance(prompts, Mapping) else "chat"
    elif isinstance(prompts[0], int):
        one = "prompt's tokens"
    if one is not None:
        wrapped = {"text": "[text]", "message": "[[message]]", "chat": "[chat]"}.get(one, "[tokens]")
        raise TypeError(f"`prompts` is one {one}, where a list of prompts belongs; give `{wrapped}`.")
    for index, prompt in enumerate(prompts):
        if not isinstance(prompt, Sequence):
            raise TypeError(f"Prompt {index} is neither a text nor a list of messages or token ids: {prompt!r:.80}.")


def _encode(tokenizer: PreTrainedTokenizerBase, prompt: Any) -> list[int]:
    if isinstance(prompt, str):
        return tokenizer(prompt)["input_ids"]
    if not prompt or isinstance(prompt[0], int):
        return list(prompt)
    # As TRL does: a text gets the special tokens of its tokenizer, where a chat's template has them already.
    text = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def _select(history: Rollout, *, rows: list[int], width: int) -> Rollout:
    """Some rows of a record that is aligned on the right, without the columns that none of them has."""
    selected = {name: tensor[rows] for name, tensor in history.tensors().items()}
    kept = {name: selected[name][:, -width:] for name in history.columns()}
    return Rollout(**{**selected, **kept})


def by_length(lengths: Sequence[int], batch_size: int | None) -> list[list[int]]:
    """Split indices into batches of at most `batch_size` (None: one batch in the given order), longest first.

    Ties keep their order. Longest first, so that memory runs out at the start rather than hours later.
    """
    if batch_size is None or batch_size >= len(lengths):
        return [list(range(len(lengths)))]
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def gather_rows(
    batches: Sequence[tuple[list[int], Int[Tensor, "_ _"], Rollout]], *, pad_token_id: int
) -> tuple[Int[Tensor, "N D"], Rollout]:
    """Join the completions and rollouts of several batches, each row at the position that its batch gives for it."""
    length = max(completion_ids.size(1) for _, completion_ids, _ in batches)
    num_candidates = max(rollout.num_candidates for _, _, rollout in batches)
    completions, records = [], []
    for _, completion_ids, rollout in batches:
        completions.append(F.pad(completion_ids, (0, length - completion_ids.size(1)), value=pad_token_id))
        # A strategy of the caller's own may draw another number of candidates in each batch.
        records.append(rollout.widen(num_candidates).resize(length).to_batch())
    order = torch.tensor([row for rows, _, _ in batches for row in rows], device=completions[0].device).argsort()
    joined = {name: torch.cat([record[name] for record in records])[order] for name in records[0]}
    return torch.cat(completions)[order], Rollout.from_batch(joined)


def _decode(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompt_ids: list[list[int]],
    decoder: Any,
    **generation_kwargs: Any,
) -> tuple[Int[Tensor, "B C"], Rollout]:
    # Padded here, since fast tokenizers keep the state of their own padding, which threads would share.
    length, pad_token_id = max(map(len, prompt_ids)), tokenizer.pad_token_id or 0
    rows = [[pad_token_id] * (length - len(ids)) + ids for ids in prompt_ids]
    masks = [[0] * (length - len(ids)) + [1] * len(ids) for ids in prompt_ids]
    inputs = {"input_ids": rows, "attention_mask": masks}
    inputs = {name: torch.tensor(values, device=input_device(model)) for name, values in inputs.items()}
    options: dict[str, Any] = {"do_sample": True, "top_k": 0, "pad_token_id": tokenizer.pad_token_id}
    options |= generation_kwargs
    # transformers does not pass its tokenizer on to a custom decoding loop, so the criterion is made here.
    if stop_strings := options.pop("stop_strings", None):
        criteria = [*options.get("stopping_criteria", ()), StopStringCriteria(tokenizer, stop_strings)]
        options["stopping_criteria"] = StoppingCriteriaList(criteria)
    decoder.forget()
    sequences = model.generate(**inputs, custom_generate=decoder, **options)
    completion_ids = sequences[:, inputs["input_ids"].size(1) :]
    return completion_ids, decoder.rollout_of(completion_ids.tolist())


class BatchTextStreamer(BaseStreamer):
    """Decodes the visible tokens of each step to the new text of each row.

    Like transformers' `TextStreamer`, for any number of rows. Special tokens are left out, padding included.
    `on_text` is called with a row's name, one of `rows`, and its new text, whenever there is some.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, rows: Sequence[int], on_text: Callable[[int, str], None]
    ) -> None:
        self.tokenizer, self.rows, self.on_text = tokenizer, rows, on_text
        self._special_ids = set(tokenizer.all_special_ids)
        # Per row, the tokens of the text emitted last, and those since. New tokens are decoded after the former, on
        # which their text may depend (a leading space, a combining mark), at a cost that does not grow with the row.
        self._emitted: list[list[int]] = [[] for _ in rows]
        self._pending: list[list[int]] = [[] for _ in rows]

    def put(self, value: Int[Tensor, " B"]) -> None:
        """Take one token a row."""
        for pending, token_id in zip(self._pending, value.tolist(), strict=True):
            if token_id not in self._special_ids:
                pending.append(token_id)
        self._emit(hold_back=True)

    def end(self) -> None:
        """Emit what was held back."""
        self._emit(hold_back=False)

    def _emit(self, *, hold_back: bool) -> None:
        before = self.tokenizer.batch_decode(self._emitted)
        after = self.tokenizer.batch_decode([a + b for a, b in zip(self._emitted, self._pending, strict=True)])
        for index, (old, text) in enumerate(zip(before, after, strict=True)):
            # Tokenizers decode the first bytes of a character to U+FFFD until the rest has come.
            if len(text) > len(old) and not (hold_back and text.endswith("\ufffd")):
                self._emitted[index], self._pending[index] = self._pending[index], []
                self.on_text(self.rows[index], text[len(old) :])
