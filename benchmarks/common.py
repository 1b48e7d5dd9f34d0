"""What the benchmarks share: models, prompts of a given length, completions of given lengths, and ratios."""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    LogitsProcessor,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def load(path: str | None) -> tuple[Any, Any]:
    """The model and tokenizer at `path`, or small random ones; in bfloat16 on a GPU."""
    if path is None:
        torch.manual_seed(0)
        return random_model(hidden_size=256, layers=4)
    dtype = torch.bfloat16 if torch.cuda.is_available() else torch.float32
    return AutoModelForCausalLM.from_pretrained(path, dtype=dtype), AutoTokenizer.from_pretrained(path)


def random_model(hidden_size: int = 64, layers: int = 2) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """A randomly initialized LLaMA of some 100,000 parameters with one token per byte, and its tokenizer."""
    tokenizer = byte_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=2 * hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=4,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    return LlamaForCausalLM(config), tokenizer


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer with one token per byte and the ChatML template."""
    specials = ["<|pad|>", "<|im_start|>", "<|im_end|>"]
    tokens = [*specials, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend = Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(tokens)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<|pad|>",
        eos_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>"],
        chat_template=CHAT_TEMPLATE,
    )


def make_prompts(tokenizer: Any, length: int, count: int) -> list[str]:
    """`count` different texts of `length` tokens."""
    sentence = tokenizer.encode("Every morning she sells 16 eggs at the market, bakes 3 cakes and counts her money. ")
    texts = []
    for number in range(count):
        ids = tokenizer.encode(f"{number} times: ") + sentence * (length // len(sentence) + 1)
        texts.append(tokenizer.decode(ids[:length]))
    return texts


class EndAt(LogitsProcessor):
    """Ends the rows one after another, evenly between a third of `longest` and all of it, or none before `longest`.

    So every decoder makes as many tokens in as many steps, and knows of none beforehand. Which row ends next does not
    depend on its tokens: a model may well write the same in a whole group.
    """

    rowwise = True

    def __init__(self, *, prompt_length: int, longest: int, eos_token_id: int, ragged: bool) -> None:
        self.prompt_length, self.longest, self.eos_token_id, self.ragged = prompt_length, longest, eos_token_id, ragged
        self.lengths = torch.empty(0)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Leave only the end where a row is due, and forbid it elsewhere."""
        completion_ids = input_ids[:, self.prompt_length :]
        scores[:, self.eos_token_id] = -torch.inf
        if not self.ragged:
            return scores
        if completion_ids.size(1) == 0:
            self.lengths = torch.linspace(self.longest / 3, self.longest, len(scores)).round()
        running = ~(completion_ids == self.eos_token_id).any(dim=1)
        spare = running.sum() - int((self.lengths > completion_ids.size(1) + 1).sum())
        ends = running & (running.cumsum(dim=0) <= spare)
        ended = torch.full_like(scores, -torch.inf)
        ended[:, self.eos_token_id] = 0.0
        return torch.where(ends.unsqueeze(-1), ended, scores)


def timed(run: Callable[[], Any]) -> Callable[[], float]:
    """How many seconds a run takes, each time it is called."""

    def measured() -> float:
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    return measured


def alternate(runs: Sequence[Callable[[], float]], repeats: int) -> list[list[float]]:
    """Run A B A B ...; the numbers of each, after a warm-up of all."""
    for run in runs:
        run()
    numbers: list[list[float]] = [[] for _ in runs]
    for _ in range(repeats):
        for run, kept in zip(runs, numbers, strict=True):
            kept.append(run())
    return numbers


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """Ratio of medians, with the least and the greatest of the pairs."""
    pairs = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    middle = statistics.median(ours) / statistics.median(theirs)
    return f"{middle:.2f} ({min(pairs):.2f}-{max(pairs):.2f})"


def machine() -> str:
    """What this ran on, and how busy it was."""
    load = f"load {os.getloadavg()[0]:.1f}"
    return f"{platform.machine()}, {torch.get_num_threads()} threads, {load}, torch {torch.__version__}"


def arguments(description: str | None) -> argparse.ArgumentParser:
    """The flags that every benchmark has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--model", help="path of a model; a small random one by default")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print one JSON line a case")
    return parser


def report(as_json: bool, **case: Any) -> None:
    """Print a case, and the machine as it was."""
    case["machine"] = machine()
    print(json.dumps(case) if as_json else "  ".join(f"{name} {value}" for name, value in case.items()), flush=True)
