"""The text of completions as it grows, while a batch of them is being decoded."""

from collections.abc import Callable, Sequence

from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase
from transformers.generation.streamers import BaseStreamer

# What tokenizers put where a character's bytes are not all there yet.
INCOMPLETE = "\ufffd"


class TextRows(BaseStreamer):
    """Turns the visible tokens of each step into the text that each row has grown by.

    Tokens are decoded together with those before them, on which their text may depend, and text is held back while its
    last character lacks bytes. Special tokens are left out, padding among them.

    Args:
        tokenizer: Decodes the tokens.
        rows: What to call the rows.
        on_text: Is called with a row's name and its new text, whenever there is some.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, rows: Sequence[int], on_text: Callable[[int, str], None]
    ) -> None:
        self.tokenizer, self.rows, self.on_text = tokenizer, rows, on_text
        self._special_ids = set(tokenizer.all_special_ids)
        # Of each row, the tokens of the text last said, and those that came after it.
        self._said: list[list[int]] = [[] for _ in rows]
        self._unsaid: list[list[int]] = [[] for _ in rows]

    def put(self, value: Int[Tensor, " B"]) -> None:
        """Take one token a row."""
        for unsaid, token_id in zip(self._unsaid, value.tolist(), strict=True):
            if token_id not in self._special_ids:
                unsaid.append(token_id)
        self._say(hold_back=True)

    def end(self) -> None:
        """Say what was held back."""
        self._say(hold_back=False)

    def _say(self, *, hold_back: bool) -> None:
        before = self._texts(self._said)
        after = self._texts([said + unsaid for said, unsaid in zip(self._said, self._unsaid, strict=True)])
        for index, (old, text) in enumerate(zip(before, after, strict=True)):
            if len(text) > len(old) and not (hold_back and text.endswith(INCOMPLETE)):
                self._said[index], self._unsaid[index] = self._unsaid[index], []
                self.on_text(self.rows[index], text[len(old) :])

    def _texts(self, token_ids: list[list[int]]) -> list[str]:
        return self.tokenizer.batch_decode(token_ids)
