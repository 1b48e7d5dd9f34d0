"""Chats with tools for tiny models: a tokenizer whose template renders them, and that hears calls in any text."""

from typing import Any

from conftest import make_tokenizer
from transformers import PreTrainedTokenizerFast

TOOL_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "{% for call in message['tool_calls'] or [] %}"
    "<tool_call>{{ {'name': call['function']['name'], 'arguments': call['function']['arguments']} | tojson }}"
    "</tool_call>{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tool_tokenizer(*, calls: int = 1, share: int = 3, kind: str = "add", **arguments: Any) -> PreTrainedTokenizerFast:
    """A byte tokenizer that hears `calls` calls of the tool `kind` in most texts, in all but one of `share`.

    Random weights write no calls. What a text is taken for depends on its tokens alone, so rows of a group go on for
    different numbers of turns.
    """
    base = make_tokenizer()

    class Tokenizer(PreTrainedTokenizerFast):
        def parse_response(self, ids: list[int], prefix: Any = None, tools: Any = None) -> dict[str, Any]:
            message = {"role": "assistant", "content": self.decode(ids, skip_special_tokens=True)}
            given = arguments or {"a": len(ids), "b": 1}
            call = {"type": "function", "function": {"name": kind, "arguments": given}}
            return message if sum(ids) % share == 0 else {**message, "tool_calls": [call] * calls}

    tokenizer = Tokenizer(
        tokenizer_object=base.backend_tokenizer,
        pad_token=base.pad_token,
        eos_token=base.eos_token,
        additional_special_tokens=["<|im_start|>"],
        chat_template=TOOL_TEMPLATE,
    )
    tokenizer.response_template = {"defaults": {"role": "assistant"}}
    return tokenizer


def add(a: int, b: int) -> int:
    """Add two numbers.

    Args:
        a: The first.
        b: The second.
    """
    return a + b
