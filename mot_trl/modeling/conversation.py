"""Conversations of several turns: their tokens, and the record of what was drawn, read again at each later turn."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from itertools import groupby
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from mot_trl.modeling.rollout import Rollout

ROLLOUT = "rollout"
"""Key under which a `rollout_func` of TRL's returns the record of its completions."""


class Conversations:
    """The turns of a batch of conversations, one a row: what the model wrote, and what others put in between.

    A turn is generated from `prompts(rows)` with `history(rows)`, so that the model reads its earlier thoughts as it
    had them, mixtures and all. `record` describes all turns as one completion, in which nothing was drawn for tokens
    that are not the model's.

    Attributes:
        prompt_ids: Tokens before the first turn, by row.
        completion_ids: All tokens since, by row.
        own: 1 for each of these that training may score: the model wrote it, and reads it after the same tokens still.
    """

    def __init__(self, prompt_ids: Sequence[Sequence[int]]) -> None:
        self.prompt_ids = [list(ids) for ids in prompt_ids]
        self.completion_ids: list[list[int]] = [[] for _ in prompt_ids]
        self.own: list[list[int]] = [[] for _ in prompt_ids]
        self._record: Rollout | None = None

    def prompts(self, rows: Sequence[int] | None = None) -> list[list[int]]:
        """All tokens of the conversations `rows`, by default of all: what their next turn follows."""
        return [self.prompt_ids[row] + self.completion_ids[row] for row in self._rows(rows)]

    @property
    def record(self) -> Rollout:
        """What was drawn at each of `completion_ids`, one row a conversation.

        Raises:
            ValueError: There was no turn yet.
        """
        if self._record is None:
            raise ValueError("Nothing was generated in these conversations yet; add a turn first.")
        lengths = torch.tensor(list(map(len, self.completion_ids)), device=self._record.logps.device)
        return self._record.end_rows(lengths).resize(max(1, int(lengths.max())))

    def history(self, rows: Sequence[int] | None = None) -> Rollout | None:
        """What was drawn in the last columns of `prompts(rows)`, padded on the left; None before the first turn."""
        if self._record is None:
            return None
        index = torch.tensor(self._rows(rows), device=self._record.logps.device)
        selected = Rollout(**{name: tensor[index] for name, tensor in self.record.tensors().items()})
        width = int(selected.lengths.max())
        places = torch.arange(len(index), device=index.device)
        return Rollout.empty_like(selected, width).place(selected, places, width - selected.lengths)

    def add_turn(
        self,
        completion_ids: Sequence[Sequence[int]] | Int[Tensor, "M C"],
        rollout: Rollout,
        rows: Sequence[int] | None = None,
    ) -> None:
        """Add what the model wrote in a turn of the conversations `rows`, and the record of it, row by row.

        A tensor, as `mot_trl.generate` returns it, is padded on the right.

        Raises:
            ValueError: There are not as many completions and rows of the record, or the record is too short.
        """
        if isinstance(completion_ids, Tensor):
            padded = zip(completion_ids.tolist(), rollout.lengths.tolist(), strict=True)
            completion_ids = [ids[:length] for ids, length in padded]
        rows, longest = self._rows(rows), max(map(len, completion_ids), default=0)
        if not len(rows) == len(completion_ids) == len(rollout.lengths) or longest > rollout.logps.size(1):
            raise ValueError(
                f"A turn of {len(rows)} conversations needs as many completions and rows of a record: given are "
                f"{len(completion_ids)}, of at most {longest} tokens, and a record of {tuple(rollout.logps.shape)}."
            )
        device = rollout.logps.device
        turn = rollout.end_rows(torch.tensor(list(map(len, completion_ids)), device=device))
        starts = torch.tensor([len(self.completion_ids[row]) for row in rows], device=device)
        for row, ids in zip(rows, completion_ids, strict=True):
            self.completion_ids[row] += ids
            self.own[row] += [1] * len(ids)
        if self._record is None:
            shape = {"num_candidates": turn.num_candidates, "probes": turn.probe_ids is not None}
            self._record = Rollout.empty(len(self.prompt_ids), 1, **shape, device=device, turns=True)
        self._place(turn, torch.tensor(rows, device=device), starts)

    def add_tokens(self, row: int, ids: Sequence[int]) -> None:
        """Add tokens that the model did not write, such as a tool's result and the header of the next turn."""
        self.completion_ids[row] += ids
        self.own[row] += [0] * len(ids)

    def follow(self, row: int, prompt_ids: Sequence[int]) -> None:
        """Add what a prompt has beyond the conversation, which it must continue token by token.

        Raises:
            ValueError: It does not.
        """
        (so_far,) = self.prompts([row])
        if list(prompt_ids[: len(so_far)]) != so_far:
            shared = _common_prefix(so_far, prompt_ids)
            raise ValueError(
                f"The prompt of conversation {row}'s next turn differs from its tokens so far at token {shared}, as "
                "if a turn had been tokenized anew, so the record of its thoughts would not fit. Continue the tokens "
                "themselves, or align the record with `Conversations.rewrite` in a `rollout_func`."
            )
        self.add_tokens(row, prompt_ids[len(so_far) :])

    def cut(self, row: int, length: int) -> None:
        """Keep the first `length` tokens since the prompt."""
        del self.completion_ids[row][length:], self.own[row][length:]

    def rewrite(self, row: int, prompt_ids: Sequence[int]) -> None:
        """Replace a conversation's tokens by those of a chat template that writes earlier turns otherwise.

        Qwen3's template drops the thoughts of earlier turns; their record is dropped with them. Thoughts that are
        still there, token by token, keep theirs. Behind the first difference nothing is scored any more (`own` is 0):
        those tokens were drawn after other ones.

        Raises:
            ValueError: A thought is there, but with other tokens, so its record does not fit.
        """
        before, (old,), shared = self.record, self.prompts([row]), len(self.prompt_ids[row])
        thoughts = [(first + shared, end + shared) for first, end in _thoughts(before, row)]
        intact = _common_prefix(old, prompt_ids)
        # Thoughts stay whole: the first words of what comes in one's place may be its own by chance.
        intact = next((first for first, end in thoughts if first < intact < end), intact)
        later = [(first, end) for first, end in thoughts if first >= intact]
        places = _find_in_order([old[first:end] for first, end in later], prompt_ids, intact)
        start, kept = min(intact, shared), max(intact - shared, 0)
        self.prompt_ids[row], self.completion_ids[row] = list(prompt_ids[:start]), list(prompt_ids[start:])
        self.own[row] = self.own[row][:kept] + [0] * (len(prompt_ids) - start - kept)
        spans = [(0, kept, 0)]
        for (first, end), at in zip(later, places, strict=True):
            spans += [] if at is None else [(first - shared, end - shared, at - start)]
        self._move(before, row, spans, kept)

    def outputs(self) -> dict[str, Any]:
        """What a `rollout_func` of TRL's returns of these conversations, the record among it."""
        record, lengths = self.record, list(map(len, self.completion_ids))
        logps = record.logps.masked_fill(record.forced_mask, torch.nan).tolist()
        return {
            "prompt_ids": self.prompt_ids,
            "completion_ids": self.completion_ids,
            "logprobs": [values[:length] for values, length in zip(logps, lengths, strict=True)],
            "env_mask": self.own,
            ROLLOUT: record,
        }

    def _rows(self, rows: Sequence[int] | None) -> list[int]:
        return list(range(len(self.prompt_ids))) if rows is None else list(rows)

    def _place(self, turn: Rollout, index: Int[Tensor, " M"], starts: Int[Tensor, " M"]) -> None:
        """Put a turn of the rows `index` into the record."""
        record = self.record
        number = record.turn_numbers.amax(dim=1)[index].unsqueeze(1) + 1
        own = turn.turn_numbers
        turn = replace(turn, turns=torch.where(own < 0, own, own + number))
        record = record.place(turn, index, starts)
        closed_by, non_finite = record.closed_by.clone(), record.non_finite.clone()
        closed_by[index], non_finite[index] = turn.closed_by, non_finite[index] | turn.non_finite
        self._record = replace(record, closed_by=closed_by, non_finite=non_finite)

    def _move(self, before: Rollout, row: int, spans: Sequence[tuple[int, int, int]], kept: int) -> None:
        """Record a row anew: each span (first column, one behind, new first column) moves; turns end at `kept`."""
        own = before.rows(row, row + 1)
        whole = before.resize(max(before.logps.size(1), len(self.completion_ids[row])))
        fresh = Rollout.empty_like(whole, rows=1)
        for first, end, at in spans:
            cut = {name: tensor[:, first:end] for name, tensor in own.columns().items()}
            length, start = own.lengths.new_tensor([[end - first], [at]])
            fresh = fresh.place(replace(own, **cut, lengths=length), torch.zeros_like(start), start)
        is_behind = torch.arange(whole.logps.size(1), device=whole.logps.device) >= kept
        fresh = replace(fresh, turns=fresh.turn_numbers.masked_fill(is_behind, -1))
        columns = {name: tensor.clone() for name, tensor in whole.columns().items()}
        for name, tensor in columns.items():
            tensor[row] = getattr(fresh, name)[0]
        self._record = replace(whole, **columns)


def _thoughts(record: Rollout, row: int) -> Iterator[tuple[int, int]]:
    """First column of each thought of a row, its closing tag included, and the first one behind."""
    marks, turns = (record.thinking_mask | record.forced_mask)[row].tolist(), record.turn_numbers[row].tolist()
    for (is_thought, _), columns in groupby(range(len(marks)), key=lambda column: (marks[column], turns[column])):
        if is_thought:
            first, *rest = columns
            yield first, first + len(rest) + 1


def _find_in_order(runs: Sequence[Sequence[int]], ids: Sequence[int], start: int) -> list[int | None]:
    """Where each run of tokens begins in `ids`, in order from `start` on; None for those that are not there."""
    places: list[int | None] = []
    for run in runs:
        ends = range(start, len(ids) - len(run) + 1)
        place = next((at for at in ends if list(ids[at : at + len(run)]) == list(run)), None)
        if place is not None:
            start = place + len(run)
        elif (match := SequenceMatcher(None, ids[start:], run, False).find_longest_match()).size * 2 > len(run):
            raise ValueError(
                f"{match.size} of the {len(run)} tokens of a thought are in the new prompt, so its record does not "
                "fit: the chat template changes thoughts. Use one that keeps or drops them as they are."
            )
        places.append(place)
    return places


def _common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    pairs = enumerate(zip(first, second, strict=False))
    return next((at for at, (one, other) in pairs if one != other), min(len(first), len(second)))
