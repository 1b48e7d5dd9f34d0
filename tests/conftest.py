"""Tiny models and tokenizers, made on the spot: no hub, no GPU, seconds."""

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import datasets
import pytest
import torch
from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast
from transformers.utils import logging

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

SHARED = Path(__file__).resolve().parents[1] / ".." / "shared"

# What makes each family what it is: scaled embeddings, soft-capped logits, sliding windows, normed queries.
FAMILIES = {
    "llama": {"model_type": "llama", "num_key_value_heads": 2},
    "qwen2": {"model_type": "qwen2", "num_key_value_heads": 2, "tie_word_embeddings": True},
    "qwen3": {"model_type": "qwen3", "num_key_value_heads": 2, "head_dim": 16},
    "mistral": {"model_type": "mistral", "num_key_value_heads": 2, "sliding_window": 8, "head_dim": 16},
    "gemma2": {
        "model_type": "gemma2",
        "num_key_value_heads": 2,
        "head_dim": 16,
        "query_pre_attn_scalar": 16,
        "sliding_window": 8,
        "final_logit_softcapping": 2.0,
    },
    "gemma3": {
        "model_type": "gemma3_text",
        "num_key_value_heads": 2,
        "head_dim": 16,
        "query_pre_attn_scalar": 16,
        "sliding_window": 8,
    },
}


def pytest_collection_finish() -> None:
    # Each training run collects garbage, which goes through all that torch and transformers have made at import.
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _few_threads() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_is_heard() -> None:
    # A shell's background jobs ignore it, and so would every process that they start.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _progress_bars() -> Iterator[None]:
    # Commands hide them for good, and the next test is in the same process.
    yield
    datasets.enable_progress_bars()
    logging.enable_progress_bar()


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    """One token per byte, and a chat template."""
    return make_tokenizer()


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A new tokenizer with one token per byte and the ChatML template, for tests that change it."""
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


def make_model(family: str = "llama", *, seed: int = 0, **overrides: object) -> PreTrainedModel:
    """A two-layer model with the vocabulary of `make_tokenizer`, spread wide enough to be far from uniform."""
    settings = {
        "vocab_size": 259,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 512,
        "initializer_range": 0.2,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**{**settings, **FAMILIES[family], **overrides}))
    return model.eval()


@pytest.fixture
def model() -> PreTrainedModel:
    return make_model()


@pytest.fixture
def prompts() -> Dataset:
    """Eight chats of different lengths."""
    texts = [f"Count to {number}{' please' * (number % 3)}." for number in range(2, 10)]
    return Dataset.from_dict({"prompt": [[{"role": "user", "content": text}] for text in texts]})


def shared(*parts: str) -> Path:
    """A path among the shared data; skips the test where it is absent."""
    path = SHARED.joinpath(*parts).resolve()
    if not path.exists():
        pytest.skip(f"needs {'/'.join(parts)} among the shared data")
    return path
