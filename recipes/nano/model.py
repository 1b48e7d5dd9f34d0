"""The embedded model before training: its tokenizer and its randomly initialized weights."""

from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from mot_trl.rewards.answer import ANSWER_CLOSE, ANSWER_OPEN, THINK_CLOSE, THINK_OPEN

CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def puzzle_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE in which numbers to 99, signed digits, letters after a space, and tags are one token each."""
    space = "Ġ"  # how ByteLevel writes a space
    digits = [str(digit) for digit in range(10)]
    numbers = [tens + ones for tens in digits[1:] for ones in digits]
    signed = [sign + digit for sign in "+-" for digit in digits]
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    spaced = [space + text for text in (*digits, *numbers, *signed, *letters)]
    messages = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
    tags = [THINK_OPEN, THINK_CLOSE, ANSWER_OPEN, ANSWER_CLOSE]
    # The shipped weights index their embeddings by this order.
    tokens = [*messages, *tags, *sorted(pre_tokenizers.ByteLevel.alphabet()), *numbers, *signed, *spaced]
    merges = [(text[0], text[1]) for text in (*numbers, *signed)] + [(space, text[1:]) for text in spaced]
    backend = Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(tokens)}, merges=merges))
    # Split first: merges alone would cut "1234" and "+12" differently depending on what precedes them.
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
        chat_template=CHAT_TEMPLATE,
    )
    # Not special: TRL and graders decode completions without special tokens, and must still see the tags.
    tokenizer.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in tags])
    return tokenizer


def new_nano() -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """A LLaMA of 0.9 million parameters with random weights, and its tokenizer."""
    return _new(hidden_size=128, intermediate_size=384, num_hidden_layers=4, num_attention_heads=4)


def new_nano_soft() -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """A LLaMA of 0.4 million parameters in two layers, enough to look up edges, and the same tokenizer."""
    return _new(hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=2)


def _new(**shape: int) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    tokenizer = puzzle_tokenizer()
    settings: dict[str, Any] = dict(shape)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        **settings,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        initializer_range=0.05,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    return LlamaForCausalLM(config), tokenizer
