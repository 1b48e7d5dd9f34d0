"""Nano with tools: tokens and a chat template for calls, and conversations to imitate, from careful to careless."""

import json
import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from tokenizers import AddedToken

from mot_trl.rewards.answer import ANSWER_CLOSE, ANSWER_OPEN, THINK_CLOSE, THINK_OPEN
from mot_trl.tasks.agents.calculator import calculate
from mot_trl.tasks.agents.guess_number import GUESSES, LARGEST, GuessNumber

TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}"
    "{% for call in message['tool_calls'] or [] %}{% set function = call['function'] %}"
    "<tool_call>{{ {'name': function['name'], 'arguments': function['arguments']} | tojson }}</tool_call>"
    "{% endfor %}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)

RESPONSE = {
    "defaults": {"role": "assistant"},
    "start_anchor": "<|assistant|>",
    "fields": {
        "tool_calls": {
            "open": "<tool_call>",
            "close_pattern": "</tool_call>",
            "repeats": True,
            "content": "json",
            "transform": {"type": "function", "function": "{content}"},
        },
        "content": {"close_pattern": r"<\|end\|>", "content": "text"},
    },
}

# What a call has beside its argument, and what the user says, are a token each: nano spells letter by letter.
CALLS = {
    "calculator": ('<tool_call>{"name": "calculate", "arguments": {"expression": "', '"}}</tool_call>'),
    "guess_number": ('<tool_call>{"name": "guess", "arguments": {"number": ', "}}</tool_call>"),
}
WORDS = ("Calculate ", ", and write the result between <answer> and </answer>.", "higher", "lower", "found", "over")
WORDS += (f"Find my number from 1 to {LARGEST} with {GUESSES} guesses.",)


def add_tools(tokenizer: Any) -> None:
    """Teach nano's tokenizer to write and read calls of the tasks' tools."""
    words = [*(part for parts in CALLS.values() for part in parts), *WORDS]
    tokenizer.add_tokens([AddedToken(word, special=False, normalized=False) for word in words])
    tokenizer.add_special_tokens({"extra_special_tokens": ["<|tool|>"]}, replace_extra_special_tokens=False)
    tokenizer.chat_template, tokenizer.response_template = TEMPLATE, RESPONSE


class Turn(NamedTuple):
    """A turn to imitate: the conversation so far as text, and what the model is to write."""

    prompt: str
    completion: str


def demonstrations(task: str, rows: Any, *, seed: int = 0) -> Iterator[Turn]:
    """Yield every turn of a conversation about each row, played with more or less care."""
    for index, row in enumerate(rows):
        generator = random.Random(f"{task} {seed} {index}")
        text = f"<|user|>{row['prompt'][0]['content']}<|end|><|assistant|>"
        for thought, act, result in PLAYERS[task](row, generator):
            completion = f"{THINK_OPEN}{thought}{THINK_CLOSE}{act}<|end|>"
            yield Turn(text, completion)
            text += f"{completion}<|tool|>{result}<|end|><|assistant|>"


def play_calculator(row: dict[str, Any], generator: random.Random) -> Iterator[tuple[str, str, str]]:
    """Add the numbers one by one with calls, or guess; a careless player leaves numbers out."""
    skip = generator.choice((0.0, 0.0, 0.4))
    expression = row["prompt"][0]["content"].split()[1].rstrip(",")
    terms = expression.replace("+", " +").replace("-", " -").split()
    total, left = terms[0], [term for term in terms[1:] if generator.random() >= skip]
    open_call, close_call = CALLS["calculator"]
    while left:
        thought = f" {total} {' '.join(left)}"
        asked = total + left.pop(0)
        total = calculate(asked)
        yield thought, f"{open_call}{asked}{close_call}", total
    yield f" {total}", f"{ANSWER_OPEN}{total}{ANSWER_CLOSE}", ""


def play_guess_number(row: dict[str, Any], generator: random.Random) -> Iterator[tuple[str, str, str]]:
    """Think of the numbers that the secret is between, and guess in the middle of them or, mostly, anywhere."""
    game, low, high = GuessNumber(), 0, LARGEST + 1
    game.reset(secret=row["secret"])
    open_call, close_call = CALLS["guess_number"]
    for _ in range(GUESSES):
        middle = (low + high) // 2
        number = middle if generator.random() < 0.2 else generator.randint(low + 1, high - 1)
        hint = game.guess(number)
        yield f" {low} {high}", f"{open_call}{json.dumps(number)}{close_call}", hint
        if hint == "found":
            break
        low, high = (number, high) if hint == "higher" else (low, number)
    yield "", hint, ""


PLAYERS: dict[str, Callable[[dict[str, Any], random.Random], Iterator[tuple[str, str, str]]]] = {
    "calculator": play_calculator,
    "guess_number": play_guess_number,
}
