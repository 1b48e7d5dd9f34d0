"""Complete texts and chats with mixtures, in batches of prompts of similar length."""

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any, NamedTuple

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
from mot_trl.generation.phases import Phases
from mot_trl.generation.streaming import BatchTextStreamer
from mot_trl.modeling.rollout import Rollout
from mot_trl.rewards.answer import THINK_OPEN, final_answer
from mot_trl.strategies import Strategy, build_strategy


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


def generate(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str] | Sequence[list[dict[str, str]]],
    *,
    strategy: Strategy | str = DecoderConfig.strategy,
    phases: Phases | None = None,
    batch_size: int | None = None,
    progress: bool = False,
    on_text: Callable[[int, str], None] | None = None,
    **generation_kwargs: Any,
) -> Generation:
    """Complete prompts, thinking in mixtures until `</think>`.

    Args:
        model: A decoder-only transformers model, or one with PEFT adapters.
        tokenizer: The model's. Its padding token is set to the end-of-sequence token if it has none.
        prompts: Texts, taken as they are, or chats, formatted with the tokenizer's chat template.
        strategy: A strategy, or the name of one with default options.
        phases: When thinking begins and ends; by default from the first token to `</think>`.
        batch_size: Prompts decoded together; by default all. Prompts of similar length share a batch, and the longest
            come first.
        progress: Show a progress bar that counts prompts.
        on_text: Called with a completion's index and its new text, as text arrives.
        generation_kwargs: As for transformers' `generate`: `max_new_tokens`, `temperature`, `stop_strings` ...
            Sampling is on. With `num_return_sequences=n`, completions `i * n` to `i * n + n - 1` are prompt `i`'s.

    Raises:
        ValueError: `prompts` is empty, `batch_size` is below 1, or the strategy is unknown.
    """
    if not prompts:
        raise ValueError("`prompts` is empty; give at least one text or chat.")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"`batch_size={batch_size}` is a number of prompts, so it must be at least 1.")
    texts = [_as_text(tokenizer, prompt) for prompt in prompts]
    # Padding needs some token; which one does not matter, since the mask hides it and the loop knows where rows end.
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    decoder = MixtureDecoder(
        build_strategy(strategy) if isinstance(strategy, str) else strategy, phases or build_phases(tokenizer)
    )
    samples = generation_kwargs.get("num_return_sequences") or 1
    lengths = [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
    decoded = []
    with tqdm(total=len(prompts), desc="Generating", unit="prompt", disable=not progress) as bar:
        for batch in by_length(lengths, batch_size):
            rows = [index * samples + sample for index in batch for sample in range(samples)]
            streamer = None if on_text is None else BatchTextStreamer(tokenizer, rows, on_text)
            batch_texts = [texts[index] for index in batch]
            decoded.append((rows, *_decode(model, tokenizer, batch_texts, decoder, streamer, **generation_kwargs)))
            bar.update(len(batch))
    completion_ids, rollout = gather_rows(decoded, pad_token_id=tokenizer.pad_token_id or 0)
    completions = tokenizer.batch_decode(completion_ids, skip_special_tokens=True)
    # A chat template may open the thinking in the prompt; such a completion has no answer until it closes it.
    opened = [texts[row // samples].rstrip().endswith(THINK_OPEN) for row in range(len(completions))]
    answers = [final_answer(text, opened=flag) for text, flag in zip(completions, opened, strict=True)]
    return Generation(completions, answers, completion_ids, rollout)


def by_length(lengths: Sequence[int], batch_size: int | None) -> list[list[int]]:
    """Split indices into batches of at most `batch_size` (None: one batch in the given order), longest first.

    Ties keep their order, so that the batches depend on the arguments alone. Longest first means that running out of
    memory happens at the start rather than hours later.
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
    padded = [F.pad(ids, (0, length - ids.size(1)), value=pad_token_id) for _, ids, _ in batches]
    rollouts = [_pad_candidates(rollout.resize(length), num_candidates) for _, _, rollout in batches]
    order = torch.tensor([row for rows, _, _ in batches for row in rows], device=padded[0].device).argsort()
    names = [each.name for each in fields(Rollout)]
    joined = {name: torch.cat([getattr(rollout, name) for rollout in rollouts])[order] for name in names}
    return torch.cat(padded)[order], Rollout(**joined)


def _pad_candidates(rollout: Rollout, num_candidates: int) -> Rollout:
    # A strategy of the caller's own may draw another number of candidates in each batch.
    spare = (0, num_candidates - rollout.num_candidates)
    return replace(
        rollout,
        candidate_ids=F.pad(rollout.candidate_ids, spare),
        log_weights=F.pad(rollout.log_weights, spare, value=-torch.inf),
    )


def _decode(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: list[str],
    decoder: MixtureDecoder,
    streamer: BaseStreamer | None,
    **generation_kwargs: Any,
) -> tuple[Int[Tensor, "B C"], Rollout]:
    """The completions of one batch of prompts, and their rollout."""
    inputs = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False)
    input_ids, mask = inputs["input_ids"].to(model.device), inputs["attention_mask"].to(model.device)
    options: dict[str, Any] = {"do_sample": True, "top_k": 0, "pad_token_id": tokenizer.pad_token_id}
    options |= generation_kwargs
    if streamer is not None:
        options["token_streamer"] = streamer
    # transformers does not pass its tokenizer on to a custom decoding loop, so the criterion is made here.
    if stop_strings := options.pop("stop_strings", None):
        criteria = [*options.get("stopping_criteria", ()), StopStringCriteria(tokenizer, stop_strings)]
        options["stopping_criteria"] = StoppingCriteriaList(criteria)
    decoder.rollout = None
    sequences = model.generate(  # ty: ignore[not-callable]
        input_ids=input_ids, attention_mask=mask, custom_generate=decoder, **options
    )
    if decoder.rollout is None:
        raise RuntimeError("The model's `generate` did not use the decoder.")
    return sequences[:, input_ids.size(1) :], decoder.rollout


def _as_text(tokenizer: PreTrainedTokenizerBase, prompt: str | list[dict[str, str]]) -> str:
    if isinstance(prompt, str):
        return prompt
    return str(tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True))
