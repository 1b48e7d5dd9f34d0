"""Completions of several turns, between which TRL calls tools: which record belongs to which conversation."""

from collections.abc import Sequence
from typing import Any

from trl import GRPOTrainer

from mot_trl.modeling.conversation import Conversations
from mot_trl.modeling.rollout import Rollout
from mot_trl.trainer.replay import RolloutScope


class RowIds(list[int]):
    """Token ids that know the row of the batch whose conversation they are, also with more of them added."""

    def __init__(self, ids: Sequence[int], row: int) -> None:
        super().__init__(ids)
        self.row = row

    def __add__(self, other: Any) -> "RowIds":
        """The same conversation, continued."""
        return RowIds([*self, *other], self.row)


class ToolTurnsTrainer(GRPOTrainer):
    """The part of `MoTGRPOTrainer` that follows TRL's loop of tool calls.

    TRL generates a turn for some of the rows at a time, from their tokens so far and the results of their tools, and
    does not say which rows those are. Two rows may have the same tokens and other mixtures, so the tokens themselves
    carry the number of their row through the loop.
    """

    _scope: RolloutScope

    def _tool_call_loop(
        self, prompts: Any, prompt_ids: list[list[int]], completion_ids: list[list[int]], *args: Any, **kwargs: Any
    ) -> Any:
        """Record the conversations that the loop continues, as TRL keeps them."""
        scope = self._scope
        if scope.rollout is None:
            return super()._tool_call_loop(prompts, prompt_ids, completion_ids, *args, **kwargs)
        scope.conversations = conversations = Conversations(prompt_ids)
        conversations.add_turn(completion_ids, scope.rollout)
        rows = [RowIds(ids, row) for row, ids in enumerate(prompt_ids)]
        outputs = super()._tool_call_loop(prompts, rows, completion_ids, *args, **kwargs)
        for row, ids in enumerate(outputs[2]):
            # TRL cuts what goes beyond the longest completion.
            conversations.cut(row, len(ids))
        scope.rollout, scope.conversations = conversations.record, None
        return outputs

    def _continued(self, prompt_ids: Sequence[Sequence[int]]) -> tuple[list[int] | None, Rollout | None]:
        """The rows that a call of the generating method continues, and their record; None for first turns.

        Raises:
            RuntimeError: It is not known which rows these are.
            ValueError: A prompt does not continue its conversation token by token.
        """
        conversations = self._scope.conversations
        if conversations is None:
            return None, None
        rows = [ids.row for ids in prompt_ids if isinstance(ids, RowIds)]
        if len(rows) < len(prompt_ids):
            raise RuntimeError(
                "TRL's loop of tool calls makes prompts otherwise than by adding tokens to those of earlier turns, so "
                "it is unknown whose thoughts they hold. Use the release of TRL that this library requires."
            )
        for row, ids in zip(rows, prompt_ids, strict=True):
            conversations.follow(row, ids)
        return rows, conversations.history(rows)
