"""Models to begin with, where no download is possible."""

from pathlib import Path

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from mot_trl.rewards.answer import ANSWER_CLOSE, ANSWER_OPEN, THINK_CLOSE, THINK_OPEN

NANO = Path(__file__).parent / "weights"
"""Folder of the embedded model, made by `recipes/nano/pretrain.py`."""

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

PUZZLE_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer with one token a byte, and ChatML's chat template."""
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


def puzzle_tokenizer() -> PreTrainedTokenizerFast:
    """A byte a token, but numbers to 99, signed digits, spaced letters and the tags are one token each."""
    space = "Ġ"  # ByteLevel's
    digits = [str(digit) for digit in range(10)]
    numbers = [tens + ones for tens in digits[1:] for ones in digits]
    signed = [sign + digit for sign in "+-" for digit in digits]
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    spaced = [space + text for text in (*digits, *numbers, *signed, *letters)]
    messages = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
    tags = [THINK_OPEN, THINK_CLOSE, ANSWER_OPEN, ANSWER_CLOSE]
    tokens = [*messages, *tags, *sorted(pre_tokenizers.ByteLevel.alphabet()), *numbers, *signed, *spaced]
    merges = [(text[0], text[1]) for text in (*numbers, *signed)] + [(space, text[1:]) for text in spaced]
    backend = Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(tokens)}, merges=merges))
    pieces = pre_tokenizers.Split(Regex(r" ?(?:[+-]\d|\d{1,2}|[a-z])|."), behavior="isolated")
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pieces, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=messages[0],
        eos_token=messages[1],
        additional_special_tokens=messages[2:],
        chat_template=PUZZLE_TEMPLATE,
    )
    # Not special: TRL and graders read completions without special tokens.
    tokenizer.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in tags])
    return tokenizer


def load_nano() -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """The embedded model in float32, which thinks about the puzzles of `mot_trl.tasks.nano`, and its tokenizer.

    `NANO` is a checkpoint like any other, in bfloat16: `AutoModelForCausalLM.from_pretrained(NANO)`; see its card.
    """
    model = LlamaForCausalLM.from_pretrained(NANO, dtype=torch.float32)
    return model, PreTrainedTokenizerFast.from_pretrained(NANO)


def new_nano() -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """The embedded model before it has learnt anything, and its tokenizer."""
    tokenizer = puzzle_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        initializer_range=0.05,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    return LlamaForCausalLM(config), tokenizer


def random_model(hidden_size: int = 64, layers: int = 2) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """A randomly initialised LLaMA of some 100,000 parameters that reads and writes bytes, and its tokenizer."""
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
