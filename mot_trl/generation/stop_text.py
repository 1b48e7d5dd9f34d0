"""Detect a text such as `</think>` in sampled tokens, however the model tokenizes it."""

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from mot_trl.generation.phases import Fired, on_device


@dataclass(frozen=True, eq=False)
class TextRule:
    """Fires once the visible text contains a given text, whatever tokens it comes in.

    An automaton over tokens: the state is how many characters of the text have been matched, and a table gives the
    next state for each token. So one lookup a step replaces decoding the completion again.

    Attributes:
        table: Characters matched after the token; one row for each number matched before it, one column for each
            token, and a last column for ids that the tokenizer does not know.
    """

    table: Int[Tensor, "L V"]
    forces: ClassVar[bool] = False

    def update(self, state: Int[Tensor, " N"], visible_ids: Int[Tensor, " N"], logps: Float[Tensor, "N V"]) -> Fired:
        """Advance the match; fire where it is complete, and start over."""
        table = on_device(self.table, state.device)
        # Models often pad their vocabulary beyond the tokenizer's; such an id matches nothing.
        matched = table[state, visible_ids.clamp(max=table.size(1) - 1)].long()
        found = matched == table.size(0)
        return matched.masked_fill(found, 0), found


def text_rule(tokenizer: PreTrainedTokenizerBase, text: str, *, setting: str = "stop_text") -> TextRule:
    """Make a rule that finds `text` in any tokenization: one token on Qwen3, three on Qwen2.5, or another split.

    Error messages name the `setting` that the text came from.

    Raises:
        ValueError: `text` encodes to nothing, or decoding its tokens does not give it back.
    """
    token_ids = tokenizer.encode(text, add_special_tokens=False)
    if not text or not token_ids:
        raise ValueError(f"`{setting}={text!r}` encodes to no token; give a text such as '</think>'.")
    rule = TextRule(_transition_table(tokenizer, _added(tokenizer), text))
    # A rule that cannot find the tokenizer's own encoding would let every completion think to the end, silently.
    state, found = torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.bool)
    for token_id in token_ids:
        state, fires = rule.update(state, torch.tensor([token_id]), torch.empty(1, 0))
        found |= fires
    if not found:
        raise ValueError(
            f"`{setting}={text!r}` cannot be found in text of this tokenizer, which gives it back as "
            f"{tokenizer.decode(token_ids)!r}; choose a text of plain ASCII characters."
        )
    return rule


def token_texts(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The text that each token adds to a text before it, special tokens included."""
    return _token_texts(tokenizer, _added(tokenizer))


def _added(tokenizer: PreTrainedTokenizerBase) -> frozenset[tuple[str, int]]:
    """The tokens that were added to a tokenizer, which change under the eyes of a cache."""
    return frozenset(tokenizer.get_added_vocab().items())


@lru_cache(maxsize=16)
def _token_texts(tokenizer: PreTrainedTokenizerBase, added: frozenset[tuple[str, int]]) -> list[str]:
    # Decoded after a letter, since SentencePiece tokenizers drop the space of a first token.
    before = tokenizer.encode("a", add_special_tokens=False)
    ids = [before, *([*before, token_id] for token_id in range(len(tokenizer)))]
    prefix, *texts = tokenizer.batch_decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return [text.removeprefix(prefix) for text in texts]


@lru_cache(maxsize=16)
def _transition_table(
    tokenizer: PreTrainedTokenizerBase, added: frozenset[tuple[str, int]], text: str
) -> Int[Tensor, "L V"]:
    pieces = _token_texts(tokenizer, added)
    # int16, since the table lives on the accelerator: 2.4 MB for `</think>` in a vocabulary of 150,000.
    table = torch.zeros(len(text), len(pieces) + 1, dtype=torch.int16)
    for token_id, piece in enumerate(pieces):
        # Most of a vocabulary can neither begin nor continue a match and keeps its zeros. The check saves seconds.
        if text[0] in piece or (piece and piece[0] in text):
            for matched in range(len(text)):
                table[matched, token_id] = _next_state(text, matched, piece)
    return table


def _next_state(text: str, matched: int, piece: str) -> int:
    """Characters of `text` matched at the end of `piece`, or all if `piece` completes it anywhere."""
    window = text[:matched] + piece
    if text in window:
        return len(text)
    return next((n for n in range(min(len(text) - 1, len(window)), 0, -1) if window.endswith(text[:n])), 0)
