"""The text that each token of a completion stands for."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from mot_trl.generation.stop_text import token_texts

BROKEN = "\N{REPLACEMENT CHARACTER}"
MAX_UTF8_BYTES = 4


def token_text(tokenizer: PreTrainedTokenizerBase, token_id: int) -> str:
    """The text of one token; ids outside the tokenizer's vocabulary are shown as `[id]`."""
    texts = token_texts(tokenizer)
    return texts[token_id] if 0 <= token_id < len(texts) else f"[{token_id}]"


def visible_texts(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int]) -> list[str]:
    """The text of each token; joined, they are the completion.

    Where byte tokens make up one character, the first token gets the character and the others the empty string.
    """
    texts = [token_text(tokenizer, token_id) for token_id in token_ids]
    for start in range(len(texts)):
        if BROKEN not in texts[start]:
            continue
        # The shortest run of tokens that decodes cleanly. None does where generation stopped inside a character: its
        # tokens keep the replacement character.
        for end in range(start + 2, min(start + MAX_UTF8_BYTES, len(texts)) + 1):
            whole = str(tokenizer.decode(list(token_ids[start:end]), clean_up_tokenization_spaces=False))
            if BROKEN not in whole:
                texts[start:end] = [whole, *[""] * (end - start - 1)]
                break
    return texts
