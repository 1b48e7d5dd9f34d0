"""Stream the text of a batch of completions while it is being decoded."""

from collections.abc import Callable, Sequence

from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase
from transformers.generation.streamers import BaseStreamer

# Tokenizers decode the first bytes of a character to this until the rest has come.
INCOMPLETE = "\ufffd"


class BatchTextStreamer(BaseStreamer):
    """Decodes the visible tokens of each step to the new text of each row.

    Like transformers' `TextStreamer`, for any number of rows. Special tokens are left out, padding included.

    Args:
        tokenizer: Decodes the tokens.
        rows: Names of the rows.
        on_text: Called with a row's name and its new text, whenever there is some.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, rows: Sequence[int], on_text: Callable[[int, str], None]
    ) -> None:
        self.tokenizer, self.rows, self.on_text = tokenizer, rows, on_text
        self._special_ids = set(tokenizer.all_special_ids)
        # Per row, the tokens of the text emitted last, and those since. New tokens are decoded after the former, on
        # which their text may depend (a leading space, a combining mark), at a cost that does not grow with the row.
        self._emitted: list[list[int]] = [[] for _ in rows]
        self._pending: list[list[int]] = [[] for _ in rows]

    def put(self, value: Int[Tensor, " B"]) -> None:
        """Take one token a row."""
        for pending, token_id in zip(self._pending, value.tolist(), strict=True):
            if token_id not in self._special_ids:
                pending.append(token_id)
        self._emit(hold_back=True)

    def end(self) -> None:
        """Emit what was held back."""
        self._emit(hold_back=False)

    def _emit(self, *, hold_back: bool) -> None:
        before = self.tokenizer.batch_decode(self._emitted)
        after = self.tokenizer.batch_decode([a + b for a, b in zip(self._emitted, self._pending, strict=True)])
        for index, (old, text) in enumerate(zip(before, after, strict=True)):
            if len(text) > len(old) and not (hold_back and text.endswith(INCOMPLETE)):
                self._emitted[index], self._pending[index] = self._pending[index], []
                self.on_text(self.rows[index], text[len(old) :])
