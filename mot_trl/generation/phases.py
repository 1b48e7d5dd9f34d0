"""Thinking and answering phases: when a row draws mixtures, and which rules end its thinking."""

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mot_trl.strategies.support import entropy

# The life of a row, as `PhaseState` keeps it:
#
#   waiting ──start text seen──► thinking ──a rule fires──► answering ──► finished
#   (only with a `start` rule)     │  ▲                       │  ▲
#                                  │  └───restart text seen───┘  │
#                                  │  (only with a `restart` rule)
#                                  └─ a rule that `forces` ─► closing: the tag's tokens are forced, one a step
#
# Without a `restart` rule thinking does not resume, but in a conversation's next turn. A row that ends (end of
# sequence, length) leaves any phase at once.


Fired = tuple[Int[Tensor, " N"], Bool[Tensor, " N"]]
"""A rule's new state, and the rows in which it fires."""


@runtime_checkable
class Rule(Protocol):
    """A condition that ends (or begins) thinking. Its memory is one integer a row, which starts at 0."""

    forces: ClassVar[bool]
    """Whether the closing tag must be forced when the rule fires, because the text does not hold it yet."""

    def update(self, state: Int[Tensor, " N"], visible_ids: Int[Tensor, " N"], logps: Float[Tensor, "N V"]) -> Fired:
        """The state after the visible tokens, drawn from `logps` (nats), and the rows in which the rule fires."""
        ...


@dataclass(frozen=True)
class BudgetRule:
    """Fires after `tokens` tokens of thinking, in one span or in all spans and turns of the conversation together."""

    tokens: int
    in_all: bool = False
    forces: ClassVar[bool] = True

    def update(self, state: Int[Tensor, " N"], visible_ids: Int[Tensor, " N"], logps: Float[Tensor, "N V"]) -> Fired:
        """Count a token."""
        return state + 1, state + 1 >= self.tokens


@dataclass(frozen=True)
class ColdStopRule:
    """Fires when the entropy of p has been below `threshold` nats for `patience` steps (Soft Thinking, 2505.15778)."""

    threshold: float
    patience: int
    forces: ClassVar[bool] = True

    def update(self, state: Int[Tensor, " N"], visible_ids: Int[Tensor, " N"], logps: Float[Tensor, "N V"]) -> Fired:
        """Count consecutive steps of low entropy."""
        cold = torch.where(entropy(logps) < self.threshold, state + 1, 0)
        return cold, cold >= self.patience


class PhaseState(NamedTuple):
    """The phase of each of `N` rows.

    Attributes:
        thinking: The strategy draws the next token.
        waiting: Thinking may begin: the start text has not been seen yet or, after a span that a rule has ended, the
            restart text.
        forced: How many tokens of the closing tag have been forced; -1 where none is due.
        closed_by: Index of the rule that ended the thinking; -1 where none did, or it has begun again since.
        start_state: Of the rule that begins the thinking, or begins it again.
    """

    thinking: Bool[Tensor, " N"]
    waiting: Bool[Tensor, " N"]
    forced: Int[Tensor, " N"]
    closed_by: Int[Tensor, " N"]
    start_state: Int[Tensor, " N"]
    rule_states: tuple[Int[Tensor, " N"], ...]

    def select(self, indices: Int[Tensor, " M"]) -> "PhaseState":
        """The rows `indices`."""
        *tensors, rule_states = self
        return PhaseState(*(tensor[indices] for tensor in tensors), tuple(state[indices] for state in rule_states))


@dataclass(frozen=True)
class Phases:
    """Thinking, then answering, row by row. The first of the rules that fires ends the thinking.

    With a `restart` rule there may be any number of spans of thinking, each with its own count of every rule but the
    budget in all; once that is spent, no other begins. Spans do not nest: a text that begins one is, within one, a
    thought like any other, and the first end is the end of the span.

    Attributes:
        closing_ids: Tokens to force when a rule fires before its tag is in the text.
        start: What begins the thinking; None to begin with the first token.
        restart: What begins it again after it has ended; None to think once.
    """

    rules: tuple[Rule, ...] = ()
    closing_ids: tuple[int, ...] = ()
    start: Rule | None = None
    restart: Rule | None = None

    @property
    def can_force(self) -> bool:
        """Whether a rule may put tokens into the text."""
        return any(rule.forces for rule in self.rules)

    def check_room(self, max_new_tokens: int) -> None:
        """Check that a budget which is spent leaves room for the closing tag and an answer.

        Raises:
            ValueError: It does not; the message has the numbers.
        """
        tag = len(self.closing_ids)
        for rule in self.rules:
            if isinstance(rule, BudgetRule) and rule.tokens < max_new_tokens <= rule.tokens + tag:
                raise ValueError(
                    f"A thinking budget of {rule.tokens} tokens and a closing tag of {tag} leave no room for answers "
                    f"in {max_new_tokens}: allow {rule.tokens + tag + 1} tokens or more, or lower the budget."
                )

    def begin(self, rows: int, device: torch.device, *, spent: Int[Tensor, " N"] | None = None) -> PhaseState:
        """The state before the first token of a turn, after earlier turns whose thoughts `spent` so many tokens."""
        zeros = torch.zeros(rows, dtype=torch.long, device=device)
        waiting = torch.full((rows,), self.start is not None, device=device)
        state = PhaseState(~waiting, waiting, zeros - 1, zeros - 1, zeros, tuple(zeros for _ in self.rules))
        return state if spent is None else self._resume_budgets(state, spent)

    def _resume_budgets(self, state: PhaseState, spent: Int[Tensor, " N"]) -> PhaseState:
        """Go on counting in the budgets for all turns; where one is used up, the closing tag comes at once."""
        thinking, _, forced, closed_by, _, rule_states = state
        for index, rule in enumerate(self.rules):
            if isinstance(rule, BudgetRule) and rule.in_all:
                rule_states = (*rule_states[:index], spent, *rule_states[index + 1 :])
                ends = thinking & (spent >= rule.tokens)
                thinking, forced = thinking & ~ends, torch.where(ends, 0, forced)
                closed_by = torch.where(ends, index, closed_by)
        return state._replace(thinking=thinking, forced=forced, closed_by=closed_by, rule_states=rule_states)

    def force(
        self, state: PhaseState, visible_ids: Int[Tensor, " N"]
    ) -> tuple[Int[Tensor, " N"], Bool[Tensor, " N"], PhaseState]:
        """Force the closing tag's next token where one is due: the tokens, where they were forced, and the state."""
        due = state.forced >= 0
        if not self.can_force:
            return visible_ids, due, state
        closing = on_device(self.closing_ids, visible_ids.device)
        forced = torch.where(due, state.forced + 1, state.forced)
        visible_ids = torch.where(due, closing[state.forced.clamp(min=0)], visible_ids)
        return visible_ids, due, state._replace(forced=torch.where(forced >= len(closing), -1, forced))

    def advance(
        self,
        state: PhaseState,
        visible_ids: Int[Tensor, " N"],
        logps: Float[Tensor, "N V"],
        finished: Bool[Tensor, " N"],
    ) -> PhaseState:
        """The state after the visible tokens, drawn from `logps` (nats); some may have finished their rows."""
        thinking, forced, closed_by = state.thinking, state.forced, state.closed_by
        rule_states = []
        for index, (rule, before) in enumerate(zip(self.rules, state.rule_states, strict=True)):
            after, fires = rule.update(before, visible_ids, logps)
            # Rules advance on thoughts alone: other text spends no budget, and may quote the tag.
            rule_states.append(torch.where(state.thinking, after, before))
            # A finished row has no room for the closing tag: its thinking was never closed.
            ends = fires & thinking & ~finished if rule.forces else fires & thinking
            # `thinking` is already False for later rules, so the first to fire gives `closed_by`.
            thinking, closed_by = thinking & ~ends, torch.where(ends, index, closed_by)
            if rule.forces:
                forced = torch.where(ends, 0, forced)
        # A row that ends within the closing tag has not closed its thinking, though a rule fired.
        closed_by = torch.where(finished & (forced >= 0), -1, closed_by)
        start_state, fires = self._start(state, visible_ids, logps)
        # After the rules: the token that completes the start text is not itself a thought. And none begins while the
        # closing tag is being forced.
        starts = fires & state.waiting & (forced < 0)
        waiting = state.waiting & ~starts
        if self.restart is not None:
            waiting = waiting | (state.thinking & ~thinking & ~self._is_spent(rule_states, waiting))
            closed_by = closed_by.masked_fill(starts, -1)
            rule_states = [
                states if isinstance(rule, BudgetRule) and rule.in_all else states.masked_fill(starts, 0)
                for rule, states in zip(self.rules, rule_states, strict=True)
            ]
        thinking = thinking | starts
        return PhaseState(
            thinking & ~finished, waiting & ~finished, forced, closed_by, start_state, tuple(rule_states)
        )

    def _start(self, state: PhaseState, visible_ids: Int[Tensor, " N"], logps: Float[Tensor, "N V"]) -> Fired:
        """The state of the rule that begins the next span, and where it fires."""
        # A row that waits and has ended no span waits for its first. All others follow the restart text, those that
        # think as well: the token that ends a span may hold the beginning of it.
        is_first = state.waiting & (state.closed_by < 0)
        states, fires = state.start_state, torch.zeros_like(is_first)
        for rule, rows in ((self.start, is_first), (self.restart, ~is_first)):
            if rule is not None:
                after, found = rule.update(states.masked_fill(~rows, 0), visible_ids, logps)
                states, fires = torch.where(rows, after, states), torch.where(rows, found, fires)
        return states, fires

    def _is_spent(self, rule_states: list[Int[Tensor, " N"]], waiting: Bool[Tensor, " N"]) -> Bool[Tensor, " N"]:
        """Where a budget for all spans is used up."""
        spent = torch.zeros_like(waiting)
        for rule, states in zip(self.rules, rule_states, strict=True):
            if isinstance(rule, BudgetRule) and rule.in_all:
                spent = spent | (states >= rule.tokens)
        return spent


@lru_cache(maxsize=16)
def on_device(numbers: tuple[int, ...] | Tensor, device: torch.device) -> Tensor:
    """The numbers on a device; copied there once, since a copy at each step would make the host wait for it."""
    return torch.as_tensor(numbers, device=device)
