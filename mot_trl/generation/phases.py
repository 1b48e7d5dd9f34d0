"""When a completion thinks in mixtures, and what ends it."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar, Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase


class Rule(Protocol):
    """A reason to end (or begin) thinking, watched row by row through one integer of state that starts at 0.

    Attributes:
        forces: Whether the closing tag must be put into the text when the rule fires, because it is not there yet.
    """

    forces: ClassVar[bool]

    def update(
        self, state: Int[Tensor, " N"], visible_ids: Int[Tensor, " N"], logps: Float[Tensor, "N V"]
    ) -> tuple[Int[Tensor, " N"], Bool[Tensor, " N"]]:
        """The state after the visible tokens, drawn from `logps` (nats), and the rows in which the rule fires."""
        ...


@dataclass(frozen=True, eq=False)
class TextRule:
    """Fires once the visible text contains a given text, however it is cut into tokens.

    A table says, for each token and each length of the text's beginning that has been seen, how much has been seen
    after the token. So one lookup a step does what decoding the text would.

    Attributes:
        table: Length seen after the token; as many rows as the text has characters, one token a column, and a last
            column for ids that the tokenizer does not know.
    """

    table: Int[Tensor, "L V"]

    forces: ClassVar[bool] = False

    def update(
        self, state: Int[Tensor, " N"], visible_ids: Int[Tensor, " N"], logps: Float[Tensor, "N V"]
    ) -> tuple[Int[Tensor, " N"], Bool[Tensor, " N"]]:
        """Advance the length that has been seen; fire where it is the whole text, and begin again."""
        table = _on_device(self, state.device)
        seen = table[state, visible_ids.clamp(max=table.size(1) - 1)].long()
        found = seen == table.size(0)
        return seen.masked_fill(found, 0), found


@dataclass(frozen=True)
class BudgetRule:
    """Fires when `tokens` tokens have been thought."""

    tokens: int

    forces: ClassVar[bool] = True

    def update(
        self, state: Int[Tensor, " N"], visible_ids: Int[Tensor, " N"], logps: Float[Tensor, "N V"]
    ) -> tuple[Int[Tensor, " N"], Bool[Tensor, " N"]]:
        """Count a token."""
        return state + 1, state + 1 >= self.tokens


@dataclass(frozen=True)
class ColdStopRule:
    """Fires when the entropy of p has been below `threshold` nats for `patience` steps (Soft Thinking, 2505.15778)."""

    threshold: float
    patience: int

    forces: ClassVar[bool] = True

    def update(
        self, state: Int[Tensor, " N"], visible_ids: Int[Tensor, " N"], logps: Float[Tensor, "N V"]
    ) -> tuple[Int[Tensor, " N"], Bool[Tensor, " N"]]:
        """Count steps of low entropy in a row."""
        entropies = -(logps.exp() * logps.clamp(min=torch.finfo(logps.dtype).min)).sum(dim=-1)
        cold = torch.where(entropies < self.threshold, state + 1, 0)
        return cold, cold >= self.patience


def text_rule(tokenizer: PreTrainedTokenizerBase, text: str, *, setting: str = "stop_text") -> TextRule:
    """A rule that finds `text`, whatever tokens it comes in: one on Qwen3, three on Qwen2.5, or a split of its own.

    Raises:
        ValueError: `text` encodes to nothing, or the tokenizer's own encoding of it does not give it back.
    """
    token_ids = tokenizer.encode(text, add_special_tokens=False)
    if not text or not token_ids:
        raise ValueError(f"`{setting}={text!r}` encodes to no token; give a text such as '</think>'.")
    rule = TextRule(_text_table(tokenizer, text))
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


@lru_cache(maxsize=16)
def _on_device(rule: TextRule, device: torch.device) -> Int[Tensor, "L V"]:
    return rule.table.to(device)


@lru_cache(maxsize=16)
def _ids_on_device(token_ids: tuple[int, ...], device: torch.device) -> Int[Tensor, " L"]:
    return torch.tensor(token_ids, device=device)


@lru_cache(maxsize=16)
def _text_table(tokenizer: PreTrainedTokenizerBase, text: str) -> Int[Tensor, "L V"]:
    pieces = token_texts(tokenizer)
    table = torch.zeros(len(text), len(pieces) + 1, dtype=torch.int16)
    for token_id, piece in enumerate(pieces):
        # Only a token that holds a beginning of the text, or goes on with it, leads anywhere but to "nothing seen".
        if text[0] in piece or (piece and piece[0] in text):
            for seen in range(len(text)):
                table[seen, token_id] = _advance(text, seen, piece)
    return table


def _advance(text: str, seen: int, piece: str) -> int:
    """How much of `text` has been seen at the end of `piece`, or all of it if it is completed anywhere in it."""
    window = text[:seen] + piece
    if text in window:
        return len(text)
    return next((n for n in range(min(len(text) - 1, len(window)), 0, -1) if window.endswith(text[:n])), 0)


@lru_cache(maxsize=16)
def token_texts(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The text each token adds behind others, special tokens included."""
    # Behind a letter, since SentencePiece tokenizers drop the space of a first token.
    before = tokenizer.encode("a", add_special_tokens=False)
    prefix = _decode(tokenizer, [before])[0]
    texts = _decode(tokenizer, [[*before, token_id] for token_id in range(len(tokenizer))])
    return [text.removeprefix(prefix) for text in texts]


def _decode(tokenizer: PreTrainedTokenizerBase, ids: list[list[int]]) -> list[str]:
    return tokenizer.batch_decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


@dataclass(frozen=True, eq=False)
class PhaseState:
    """Where each of `N` rows stands.

    Attributes:
        thinking: The next token is drawn by the strategy.
        waiting: The start text has not been seen yet.
        forced: How many tokens of the closing tag have been forced; -1 where none is due.
        closed_by: Index of the rule that ended the thinking; -1 where none did.
        start_state: What the start rule remembers.
        rule_states: What each rule remembers.
    """

    thinking: Bool[Tensor, " N"]
    waiting: Bool[Tensor, " N"]
    forced: Int[Tensor, " N"]
    closed_by: Int[Tensor, " N"]
    start_state: Int[Tensor, " N"]
    rule_states: tuple[Int[Tensor, " N"], ...]

    def select(self, indices: Int[Tensor, " M"]) -> "PhaseState":
        """The rows `indices`."""
        return PhaseState(
            thinking=self.thinking[indices],
            waiting=self.waiting[indices],
            forced=self.forced[indices],
            closed_by=self.closed_by[indices],
            start_state=self.start_state[indices],
            rule_states=tuple(state[indices] for state in self.rule_states),
        )


@dataclass(frozen=True)
class Phases:
    """Thinking, then answering, row by row; thinking does not resume. The first rule that fires ends it.

    Attributes:
        rules: What ends the thinking.
        closing_ids: Tokens forced into the text when a rule fires whose tag is not in it yet.
        start: What must be seen before thinking begins; None to begin in thinking.
    """

    rules: tuple[Rule, ...] = ()
    closing_ids: tuple[int, ...] = ()
    start: Rule | None = None

    @property
    def can_force(self) -> bool:
        """Whether a rule may put tokens into the text."""
        return any(rule.forces for rule in self.rules)

    def begin(self, rows: int, device: torch.device) -> PhaseState:
        """The state before the first token."""
        zeros = torch.zeros(rows, dtype=torch.long, device=device)
        waiting = torch.full((rows,), self.start is not None, device=device)
        return PhaseState(~waiting, waiting, zeros - 1, zeros - 1, zeros, tuple(zeros for _ in self.rules))

    def force(
        self, state: PhaseState, visible_ids: Int[Tensor, " N"]
    ) -> tuple[Int[Tensor, " N"], Bool[Tensor, " N"], PhaseState]:
        """Put the closing tag's next token where one is due; the tokens, where they were forced, and the state."""
        due = state.forced >= 0
        if not self.can_force:
            return visible_ids, due, state
        closing = _ids_on_device(self.closing_ids, visible_ids.device)
        forced = torch.where(due, state.forced + 1, state.forced)
        visible_ids = torch.where(due, closing[state.forced.clamp(min=0)], visible_ids)
        return visible_ids, due, replace(state, forced=torch.where(forced >= len(closing), -1, forced))

    def advance(
        self,
        state: PhaseState,
        visible_ids: Int[Tensor, " N"],
        logps: Float[Tensor, "N V"],
        finished: Bool[Tensor, " N"],
    ) -> PhaseState:
        """The state after the visible tokens, drawn from `logps` (nats); some of them may have finished their rows."""
        thinking, forced, closed_by = state.thinking, state.forced, state.closed_by
        rule_states = []
        for index, (rule, before) in enumerate(zip(self.rules, state.rule_states, strict=True)):
            after, fires = rule.update(before, visible_ids, logps)
            rule_states.append(torch.where(state.thinking, after, before))
            # A row that has ended cannot take the closing tag any more: its thinking was never closed.
            ends = fires & thinking & ~finished if rule.forces else fires & thinking
            thinking, closed_by = thinking & ~ends, torch.where(ends, index, closed_by)
            if rule.forces:
                forced = torch.where(ends, 0, forced)
        start_state, waiting = state.start_state, state.waiting
        if self.start is not None:
            start_state, starts = self.start.update(start_state, visible_ids, logps)
            thinking, waiting = thinking | (waiting & starts), waiting & ~starts
        return PhaseState(
            thinking & ~finished, waiting & ~finished, forced, closed_by, start_state, tuple(rule_states)
        )
