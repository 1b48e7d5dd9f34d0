"""The text that each token of a completion stands for."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from mot_trl.generation.stop_text import token_texts

BROKEN = "\N{REPLACEMENT CHARACTER}"
MAX_UTF8_BYTES = 4


def token_text(token_id: int, texts: Sequence[str]) -> str:
    """The text of one token; ids outside the tokenizer's vocabulary are shown as `[id]`."""
    return texts[token_id] if 0 <= token_id < len(texts) else f"[{token_id}]"


def visible_texts(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int]) -> list[str]:
    """The text of each token; joined, they are the completion.

    Where byte tokens make up one character, the first token gets the character and the others the empty string.
    """
    vocabulary = token_texts(tokenizer)
    texts = [token_text(token_id, vocabulary) for token_id in token_ids]
    start = 0
    while start < len(texts):
        end = start + 1
        if BROKEN in texts[start]:
            # The shortest run of tokens that decodes cleanly. None does where generation stopped inside a character:
            # its tokens keep the replacement character.
            for stop in range(start + 2, min(start + MAX_UTF8_BYTES, len(texts)) + 1):
                whole = str(tokenizer.decode(list(token_ids[start:stop]), clean_up_tokenization_spaces=False))
                if BROKEN not in whole:
                    texts[start:stop] = [whole, *[""] * (stop - start - 1)]
                    end = stop
                    break
        start = end
    return texts
