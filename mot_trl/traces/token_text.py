"""The text that each token of a completion shows."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from mot_trl.generation.stop_text import token_texts

BROKEN = "\N{REPLACEMENT CHARACTER}"
LONGEST_CHARACTER = 4


def token_text(token_id: int, texts: Sequence[str]) -> str:
    """The text of one token; ids that the tokenizer does not know are shown by number."""
    return texts[token_id] if 0 <= token_id < len(texts) else f"[{token_id}]"


def visible_pieces(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int]) -> list[str]:
    """The text of each token, whose concatenation is the completion's.

    Where a character is cut into several byte tokens, the first shows it and the others show nothing.
    """
    texts = token_texts(tokenizer)
    pieces = [token_text(token_id, texts) for token_id in token_ids]
    start = 0
    while start < len(pieces):
        end = start + 1
        if BROKEN in pieces[start]:
            for stop in range(start + 2, min(start + LONGEST_CHARACTER, len(pieces)) + 1):
                whole = str(tokenizer.decode(list(token_ids[start:stop]), clean_up_tokenization_spaces=False))
                if BROKEN not in whole:
                    pieces[start:stop] = [whole, *[""] * (stop - start - 1)]
                    end = stop
                    break
        start = end
    return pieces
