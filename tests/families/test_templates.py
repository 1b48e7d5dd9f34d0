"""Chats of every make: thinking opened in the prompt, hidden, or unheard of, and texts without any template."""

from typing import Any

import pytest
import torch
from conftest import make_model, make_tokenizer, shared
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from mot_trl.generation.config import build_phases
from mot_trl.generation.generate import generate
from mot_trl.generation.phases import Phases

CHAT = [{"role": "user", "content": "How many?"}]
# DeepSeek-R1's distills open the thinking in the prompt, and drop that of earlier turns.
OPENS_THINKING = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %}"
    "<|im_start|>{{ message['content'].split('</think>')[-1] }}<|im_end|>"
    "{% else %}{{ message['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|><think>\n{% endif %}"
)
REFUSES_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}{{ message['content'] }}{% endfor %}"
)


def thinking_after(phases: Phases, tokenizer: PreTrainedTokenizerBase, text: str) -> list[bool]:
    """Whether each token of a completion is thought."""
    state = phases.begin(1, torch.device("cpu"))
    thought = []
    for token_id in tokenizer.encode(text, add_special_tokens=False):
        thought.append(bool(state.thinking))
        ids = torch.tensor([token_id])
        state = phases.advance(state, ids, torch.zeros(1, len(tokenizer)), torch.tensor([False]))
    return [*thought, bool(state.thinking)]


@pytest.mark.parametrize("name", ["qwen2_5", "qwen3"])
def test_thinking_ends_behind_the_tag_of_real_tokenizers(name: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(shared("tokenizers", name))
    thought = thinking_after(build_phases(tokenizer), tokenizer, "One, two.\n</think>\n\nTwo.")

    assert thought[0]
    assert not thought[-1]
    assert sum(thought) == len(tokenizer.encode("One, two.\n</think>"))


@pytest.mark.parametrize("name", ["qwen2_5", "qwen3"])
def test_thinking_waits_for_the_opening_tag_where_the_model_writes_it(name: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(shared("tokenizers", name))
    phases = build_phases(tokenizer, start_text="<think>")

    thought = thinking_after(phases, tokenizer, "<think>\nOne.\n</think>\n\nTwo.")

    opening = len(tokenizer.encode("<think>"))
    assert not any(thought[:opening])
    assert thought[opening + 1]
    assert not thought[-1]


@pytest.mark.slow
def test_qwen3_closes_the_thinking_in_the_prompt_when_told_not_to_think() -> None:
    tokenizer = AutoTokenizer.from_pretrained(shared("tokenizers", "qwen3"))
    options: dict[str, Any] = {"tokenize": False, "add_generation_prompt": True}

    silent = tokenizer.apply_chat_template(CHAT, enable_thinking=False, **options)
    phases = build_phases(tokenizer, start_text="<think>")

    assert silent.endswith("<think>\n\n</think>\n\n")
    # A completion that does not open the thinking again is an answer throughout.
    assert not any(thinking_after(phases, tokenizer, "Two apples."))


@pytest.mark.parametrize("template", [OPENS_THINKING, REFUSES_SYSTEM])
def test_any_template_is_followed(template: str) -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = template

    generation = generate(make_model(), tokenizer, [CHAT], max_new_tokens=4)

    assert generation.completion_ids.shape == (1, 4)
    # A prompt that opens the thinking, or says nothing of it, is thought on at once.
    assert generation.rollout.thinking_mask[0, 0]


def test_a_template_without_system_role_says_so() -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = REFUSES_SYSTEM

    with pytest.raises(Exception, match="System role not supported"):
        generate(make_model(), tokenizer, [[{"role": "system", "content": "Think."}, *CHAT]], max_new_tokens=2)


def test_a_base_model_takes_texts_and_asks_for_a_template_to_chat() -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = None

    generation = generate(make_model(), tokenizer, ["One, two,"], max_new_tokens=3)

    assert generation.completion_ids.shape == (1, 3)
    with pytest.raises(ValueError, match=r"chat.template"):
        generate(make_model(), tokenizer, [CHAT], max_new_tokens=3)


@pytest.mark.slow
def test_smollm2s_own_tokenizer_and_template_think_and_close() -> None:
    pytest.importorskip("gguf")
    folder = shared("models", "smollm2-135m-instruct")
    (file,) = folder.glob("*.gguf")
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file.name)

    prompt = tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)
    thought = thinking_after(build_phases(tokenizer), tokenizer, "One, two.\n</think>\n\nTwo.")
    model = make_model(vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id)
    answer = generate(model, tokenizer, [CHAT], max_new_tokens=4)

    assert prompt.endswith("<|im_start|>assistant\n")
    assert "SmolLM" in prompt
    assert sum(thought) == len(tokenizer.encode("One, two.\n</think>"))
    assert len(answer.texts) == 1
