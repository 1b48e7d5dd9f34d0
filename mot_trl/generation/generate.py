"""Complete texts and chats, thinking in mixtures."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from jaxtyping import Int
from peft import PeftModel
from torch import Tensor
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteriaList,
    StopStringCriteria,
)
from transformers.generation.streamers import BaseStreamer
from transformers.utils.logging import tqdm

from mot_trl.generation.batching import by_length, gather_rows
from mot_trl.generation.config import build_phases
from mot_trl.generation.decoder import MixtureDecoder
from mot_trl.generation.phases import Phases
from mot_trl.generation.streaming import TextRows
from mot_trl.modeling.rollout import Rollout
from mot_trl.rewards.answer import THINK_OPEN, final_answer
from mot_trl.strategies import Strategy, build_strategy


class Generation(NamedTuple):
    r"""What `generate` gives back, one entry or row a completion, in the order of the prompts.

    Attributes:
        texts: Completions as text, without special tokens.
        answers: What `\boxed{}`, `<answer>` tags or `####` mark after the thinking; None where nothing is marked.
        completion_ids: Their visible tokens, padded on the right.
        rollout: What was drawn at each of them.
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
    strategy: Strategy | str = "top_k",
    phases: Phases | None = None,
    batch_size: int | None = None,
    progress: bool = False,
    on_text: Callable[[int, str], None] | None = None,
    **generation_kwargs: Any,
) -> Generation:
    """Complete prompts, thinking in mixtures until `</think>`.

    Args:
        model: A decoder-only transformers model, or one with PEFT adapters.
        tokenizer: Its tokenizer.
        prompts: Texts, taken as they are, or chats, given the tokenizer's chat template.
        strategy: A strategy, or the name of one with its defaults.
        phases: When thinking ends; by default at `</think>`.
        batch_size: Prompts decoded together, by default all. Those of a similar length share a batch, the longest ones
            come first; the results are in the order of the prompts.
        progress: Show a progress bar, counting prompts.
        on_text: Called with a completion's index and the text it has grown by, whenever one has.
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
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    decoder = MixtureDecoder(
        build_strategy(strategy) if isinstance(strategy, str) else strategy, phases or build_phases(tokenizer)
    )
    samples = generation_kwargs.get("num_return_sequences") or 1
    batches = by_length([len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]], batch_size)
    decoded = []
    with tqdm(total=len(prompts), desc="Generating", unit="prompt", disable=not progress) as bar:
        for batch in batches:
            rows = [index * samples + sample for index in batch for sample in range(samples)]
            streamer = None if on_text is None else TextRows(tokenizer, rows, on_text)
            decoded.append(
                (
                    rows,
                    *_decode(
                        model, tokenizer, [texts[i] for i in batch], decoder, streamer=streamer, **generation_kwargs
                    ),
                )
            )
            bar.update(len(batch))
    completion_ids, rollout = gather_rows(decoded, pad_token_id=tokenizer.pad_token_id or 0)
    completions = tokenizer.batch_decode(completion_ids, skip_special_tokens=True)
    # A template may open the thinking in the prompt; such a completion has no answer before it closes it.
    opened = [texts[row // samples].rstrip().endswith(THINK_OPEN) for row in range(len(completions))]
    answers = [final_answer(text, opened=flag) for text, flag in zip(completions, opened, strict=True)]
    return Generation(completions, answers, completion_ids, rollout)


def _decode(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: list[str],
    decoder: MixtureDecoder,
    *,
    streamer: BaseStreamer | None,
    **generation_kwargs: Any,
) -> tuple[Int[Tensor, "B C"], Rollout]:
    """The completions of one batch of prompts, and their record."""
    inputs = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False)
    input_ids, mask = inputs["input_ids"].to(model.device), inputs["attention_mask"].to(model.device)
    options: dict[str, Any] = {
        "do_sample": True,
        "top_k": 0,
        "pad_token_id": tokenizer.pad_token_id,
    } | generation_kwargs
    if streamer is not None:
        options["token_streamer"] = streamer
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
