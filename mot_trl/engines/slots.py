"""What the requests of an engine have drawn, by row and position, on the device; any engine can keep it.

Position `p` of a row holds the mixture that is the input there, which was drawn from the logits at `p - 1`, and the
phase after it. No shape depends on data, so a step never waits for the device.
"""

from collections.abc import Callable, Iterable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from mot_trl.generation.phases import PhaseState
from mot_trl.generation.step import Step, StepRules, log_probs, most_likely
from mot_trl.strategies.base import exponential_like
from mot_trl.strategies.mixture import Mixture, MixtureInputs


class Slots:
    """One row of positions for each request that an engine holds at a time.

    A request that is preempted keeps its row until it comes back: rows are reused in the order in which they were
    left, and an engine that serves first come, first served takes up the preempted before it takes new requests.

    Args:
        rows: Requests at a time, `R`.
        length: Tokens that a request may have, with its prompt.
        vocab_size: Of the model.
        share: Replaces what was drawn, as a tensor of integers, by what another process drew.
    """

    def __init__(
        self,
        rules: StepRules,
        *,
        rows: int,
        length: int,
        vocab_size: int,
        device: torch.device,
        share: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.rules, self.device, self.share = rules, device, share
        uniform = torch.zeros(1, vocab_size, device=device).log_softmax(dim=-1)
        self.num_candidates = rules.strategy.draw(uniform).candidate_ids.size(-1)
        self._spare = length  # the column that takes what is not to be kept
        shape = (rows, length + 1)
        self.candidate_ids = torch.zeros(*shape, self.num_candidates, dtype=torch.int32, device=device)
        self.log_weights = torch.zeros(*shape, self.num_candidates, device=device)
        self.mixture_mask = torch.zeros(shape, dtype=torch.bool, device=device)
        width = len(_columns(rules.phases.begin(1, device)))
        self.phases = torch.zeros(*shape, width, dtype=torch.int32, device=device)
        self.max_lengths = torch.zeros(rows, dtype=torch.long, device=device)
        self.end_ids = torch.full((rows, 1), -1, dtype=torch.long, device=device)
        self._row_of: dict[str, int] = {}
        # In the order in which they were left; the first names stand for no request.
        self._left: dict[str, int] = {f"unused row {row}": row for row in range(rows)}

    def begin(self, request_id: str, prompt_length: int, *, max_length: int, end_ids: Iterable[int]) -> int:
        """Give a new request a row; it ends at `max_length` tokens in all, or with one of `end_ids`."""
        row = self._left.pop(next(iter(self._left)))
        self._row_of[request_id] = row
        ends = list(end_ids)
        self.end_ids = F.pad(self.end_ids, (0, max(0, len(ends) - self.end_ids.size(1))), value=-1)
        self.end_ids[row] = torch.tensor([*ends, *[-1] * (self.end_ids.size(1) - len(ends))], device=self.device)
        self.max_lengths[row] = max_length
        self.mixture_mask[row] = False
        self.phases[row, prompt_length - 1] = _pack(self.rules.phases.begin(1, self.device))[0]
        return row

    def resume(self, request_id: str) -> int:
        """Give a request that was preempted its row back, with all that it has drawn.

        Raises:
            RuntimeError: Another request has taken the row.
        """
        if request_id not in self._left:
            raise RuntimeError(
                f"Request {request_id} was preempted, and what it drew is gone: requests did not come back first. "
                'Leave `scheduling_policy` at "fcfs".'
            )
        self._row_of[request_id] = row = self._left.pop(request_id)
        return row

    def leave(self, request_id: str) -> None:
        """Free the row of a request that has ended or is preempted, if it has one."""
        row = self._row_of.pop(request_id, None)
        if row is not None:
            self._left[request_id] = row

    def inputs(self, rows: Int[Tensor, " T"], positions: Int[Tensor, " T"]) -> MixtureInputs:
        """What is fed at (row, position), as one row of `T` tokens."""
        held = (self.candidate_ids, self.log_weights, self.mixture_mask)
        return MixtureInputs(*(each[rows, positions].unsqueeze(0) for each in held))

    def advance(
        self,
        rows: Int[Tensor, " N"],
        positions: Int[Tensor, " N"],
        scores: Float[Tensor, "N V"],
        *,
        is_new: Bool[Tensor, " N"],
        is_greedy: Bool[Tensor, " N"],
    ) -> Step:
        """Draw from the logits at `positions`, processed as the request wants them, and keep it.

        Args:
            is_new: False where the next token is known: the row is still reading, and nothing of its draw is kept.
            is_greedy: Where the temperature is 0.
        """
        logps, non_finite = log_probs(scores)
        mixture, token_ids = self._draw(logps, is_greedy)
        ends = self.end_ids[rows]
        step = self.rules.take(
            logps,
            _unpack(self.phases[rows, positions]),
            mixture=mixture,
            token_ids=token_ids,
            finished=torch.zeros_like(non_finite),
            non_finite=non_finite,
            filler_ids=ends[:, 0].clamp(min=0),
            is_last=lambda ids: (ids[:, None] == ends).any(dim=-1) | (positions + 2 >= self.max_lengths[rows]),
        )
        # What a row that is being read again holds after its chunk is what it drew before it was preempted.
        at = torch.where(is_new, positions + 1, self._spare)
        self.candidate_ids[rows, at] = step.candidate_ids
        self.log_weights[rows, at] = step.log_weights
        self.mixture_mask[rows, at] = step.mixture_mask
        self.phases[rows, at] = _pack(step.phase)
        return step

    def _draw(self, logps: Float[Tensor, "N V"], is_greedy: Bool[Tensor, " N"]) -> tuple[Mixture, Int[Tensor, " N"]]:
        """A mixture and a token for each row."""
        drawn = self.rules.strategy.draw(logps)
        # Gumbel-max rather than `torch.multinomial`, which makes the host wait.
        token_ids = (logps - exponential_like(logps).log()).argmax(dim=-1)
        best, unused = most_likely(logps), self.num_candidates - 1
        greedy = is_greedy.unsqueeze(-1)
        candidate_ids = torch.where(greedy, F.pad(best.candidate_ids, (0, unused)), drawn.candidate_ids)
        log_weights = torch.where(greedy, F.pad(best.log_weights, (0, unused), value=-torch.inf), drawn.log_weights)
        ids = torch.stack([drawn.visible_ids, token_ids], dim=-1)
        ids = torch.where(greedy, best.candidate_ids, ids)
        if self.share is not None:
            # One message: float32 travels as the integer of the same bits.
            parts = (candidate_ids.int(), log_weights.contiguous().view(torch.int32), ids.int())
            sizes = [part.size(-1) for part in parts]
            candidate_ids, log_weights, ids = self.share(torch.cat(parts, dim=-1)).split(sizes, dim=-1)
            log_weights = log_weights.contiguous().view(torch.float32)
        visible_ids, token_ids = ids.long().unbind(-1)
        return Mixture(candidate_ids.long(), log_weights, visible_ids), token_ids


def _columns(phase: PhaseState) -> list[Tensor]:
    *tensors, rule_states = phase
    return [*tensors, *rule_states]


def _pack(phase: PhaseState) -> Int[Tensor, "N F"]:
    return torch.stack([column.int() for column in _columns(phase)], dim=-1)


def _unpack(packed: Int[Tensor, "N F"]) -> PhaseState:
    thinking, waiting, *counts = packed.unbind(-1)
    forced, closed_by, start_state, *rule_states = (count.long() for count in counts)
    return PhaseState(thinking.bool(), waiting.bool(), forced, closed_by, start_state, tuple(rule_states))
