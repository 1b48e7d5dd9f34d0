"""The record of a rollout: the draw at each completion position, as tensors that TRL can shuffle and split."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from mot_trl.strategies.mixture import Mixture, MixtureInputs

PREFIX = "rollout_"

# Fields with one value per row; the others have one per completion token, and are cut and padded with them.
PER_ROW = ("lengths", "closed_by", "non_finite")


@dataclass(frozen=True)
class Rollout:
    """The record of `B` completions of `C` tokens with `K` candidates each; ids and weights, never vectors.

    Column `t` belongs to completion token `t`: it was drawn from the logits at input position `P + t - 1` and is the
    input at position `P + t`, for a prompt of `P` tokens.

    Attributes:
        candidate_ids: Candidates of the draw; one-hot on token 0 where nothing was drawn.
        log_weights: Their weights' logarithms (nats); `-inf` marks an unused one.
        thinking_mask: The token was drawn by the strategy, which scores it. The token that completes the closing tag
            is the last of these.
        mixture_mask: The token's input embedding is a blend. Not so for the token that completes the closing tag.
        forced_mask: The token was not drawn but inserted to close the thinking; it carries no loss.
        logps: Log-probability of each draw (nats) at generation time, 0 where forced or padding.
        lengths: Tokens of each completion, without padding.
        closed_by: Index of the rule that ended the thinking, in the order of `Phases.rules`; -1 if none did.
        non_finite: The model's logits were NaN or infinite: the row ends there, and is excluded from training.
        probe_ids: One more token per thought, drawn from the model's distribution p itself whatever the strategy drew:
            the KL term is estimated on it. None where nothing needs it.
        probe_logps: Log-probability of each probe (nats) at generation time, 0 where there is none.
        turns: Turn of the conversation in which the model wrote each token, from 0; -1 where it did not, as in the
            results of tools and in padding. None for completions of a single turn. Where there are several,
            `closed_by` is that of the last.
    """

    candidate_ids: Int[Tensor, "B C K"]
    log_weights: Float[Tensor, "B C K"]
    thinking_mask: Bool[Tensor, "B C"]
    mixture_mask: Bool[Tensor, "B C"]
    forced_mask: Bool[Tensor, "B C"]
    logps: Float[Tensor, "B C"]
    lengths: Int[Tensor, " B"]
    closed_by: Int[Tensor, " B"]
    non_finite: Bool[Tensor, " B"]
    probe_ids: Int[Tensor, "B C"] | None = None
    probe_logps: Float[Tensor, "B C"] | None = None
    turns: Int[Tensor, "B C"] | None = None

    @classmethod
    def empty(
        cls,
        rows: int,
        length: int,
        *,
        num_candidates: int,
        device: torch.device | str,
        probes: bool = False,
        turns: bool = False,
    ) -> "Rollout":
        """A record of `rows` x `length` positions in which nothing was drawn."""
        log_weights = torch.full((rows, length, num_candidates), -torch.inf, device=device)
        # Weight 1 on token 0 rather than none at all, so that sums over candidates are finite at every position.
        log_weights[..., 0] = 0.0
        nothing = torch.zeros(rows, length, dtype=torch.bool, device=device)
        return cls(
            candidate_ids=torch.zeros(rows, length, num_candidates, dtype=torch.int32, device=device),
            log_weights=log_weights,
            thinking_mask=nothing,
            mixture_mask=nothing.clone(),
            forced_mask=nothing.clone(),
            logps=torch.zeros(rows, length, device=device),
            lengths=torch.zeros(rows, dtype=torch.long, device=device),
            closed_by=torch.full((rows,), -1, dtype=torch.int8, device=device),
            non_finite=torch.zeros(rows, dtype=torch.bool, device=device),
            probe_ids=torch.zeros(rows, length, dtype=torch.int32, device=device) if probes else None,
            probe_logps=torch.zeros(rows, length, device=device) if probes else None,
            turns=torch.full((rows, length), -1, dtype=torch.int16, device=device) if turns else None,
        )

    @classmethod
    def empty_like(cls, other: "Rollout", length: int | None = None, *, rows: int | None = None) -> "Rollout":
        """A record like another one, of `rows` x `length` positions (by default as many), with nothing drawn."""
        own_rows, columns, num_candidates = other.candidate_ids.shape
        return cls.empty(
            own_rows if rows is None else rows,
            columns if length is None else length,
            num_candidates=num_candidates,
            device=other.logps.device,
            probes=other.probe_ids is not None,
            turns=other.turns is not None,
        )

    @property
    def num_candidates(self) -> int:
        """Candidates of each draw, `K`."""
        return self.candidate_ids.size(-1)

    @property
    def turn_numbers(self) -> Int[Tensor, "B C"]:
        """Turn of each token, also where the record knows of one alone; -1 where the model wrote none."""
        if self.turns is not None:
            return self.turns
        beyond = torch.arange(self.logps.size(1), device=self.lengths.device) >= self.lengths.unsqueeze(1)
        return -beyond.to(torch.int16)

    def tensors(self) -> dict[str, Tensor]:
        """The fields that the record has, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def columns(self) -> dict[str, Tensor]:
        """Those with a column for each token."""
        return {name: value for name, value in self.tensors().items() if name not in PER_ROW}

    def to_batch(self) -> dict[str, Tensor]:
        """Flat tensors, rows first, for the batch that TRL shuffles and splits."""
        return {PREFIX + name: tensor for name, tensor in self.tensors().items()}

    @classmethod
    def from_batch(cls, batch: Mapping[str, Tensor]) -> "Rollout":
        """Read the record from a batch made with `to_batch`, whose rows may have been shuffled and split.

        Raises:
            KeyError: The batch holds no record.
        """
        named = ((field, PREFIX + field.name) for field in fields(cls))
        return cls(**{field.name: batch[key] for field, key in named if field.default is MISSING or key in batch})

    def rows(self, start: int, end: int) -> "Rollout":
        """Rows `start` to `end`, without a copy."""
        return Rollout(**{name: tensor[start:end] for name, tensor in self.tensors().items()})

    def end_rows(self, lengths: Int[Tensor, " B"]) -> "Rollout":
        """End each row after `lengths` tokens, as if decoding had ended there."""
        beyond = torch.arange(self.logps.size(1), device=lengths.device) >= lengths.unsqueeze(1)
        masks = {name: getattr(self, name) & ~beyond for name in ("thinking_mask", "mixture_mask", "forced_mask")}
        logps = self.logps.masked_fill(beyond, 0.0)
        turns = None if self.turns is None else self.turns.masked_fill(beyond, -1)
        return replace(self, **masks, logps=logps, lengths=lengths, closed_by=self._closed_by(beyond), turns=turns)

    def _closed_by(self, beyond: Bool[Tensor, "B C"]) -> Int[Tensor, " B"]:
        """What had ended the thinking where the columns `beyond` begin; -1 if nothing had."""
        busy = self.thinking_mask | self.forced_mask
        before, after = (busy & ~beyond).any(dim=1), (busy & beyond).any(dim=1)
        # The first column beyond is a thought, or a part of the closing tag: its span was open.
        is_first = beyond & ~F.pad(beyond, (1, 0))[:, :-1]
        is_open = (busy & is_first).any(dim=1)
        # The record has the last span's rule alone; of a span before it, the text stands in.
        ended = torch.where(after, self.closed_by.clamp(min=0), self.closed_by)
        return ended.masked_fill(is_open | (after & ~before), -1)

    def to(self, device: torch.device) -> "Rollout":
        """The record on a device."""
        return Rollout(**{name: tensor.to(device) for name, tensor in self.tensors().items()})

    def resize(self, length: int) -> "Rollout":
        """Cut or pad the record to `length` columns; nothing is drawn in those added."""
        kept = {name: tensor[:, :length] for name, tensor in self.columns().items()}
        missing = length - self.logps.size(1)
        # Views, no copies: decoding without a key-value cache resizes the record at every step.
        if missing <= 0:
            return replace(self, **kept)
        spare = Rollout.empty_like(self, missing)
        return replace(self, **{name: torch.cat([kept[name], getattr(spare, name)], dim=1) for name in kept})

    def widen(self, num_candidates: int) -> "Rollout":
        """Pad the record to `num_candidates`, the new ones unused."""
        spare = (0, num_candidates - self.num_candidates)
        candidate_ids = F.pad(self.candidate_ids, spare)
        return replace(self, candidate_ids=candidate_ids, log_weights=F.pad(self.log_weights, spare, value=-torch.inf))

    def place(self, other: "Rollout", rows: Int[Tensor, " M"], starts: Int[Tensor, " M"]) -> "Rollout":
        """Put what the `M` rows of another record drew into `rows` of this one, from the columns `starts` on.

        Nothing but those columns changes: `lengths`, `closed_by` and `non_finite` stay.
        """
        width = max(self.num_candidates, other.num_candidates)
        placed, other = self.widen(width), other.widen(width)
        columns = torch.arange(other.logps.size(1), device=other.logps.device)
        row, column = (columns < other.lengths.unsqueeze(1)).nonzero(as_tuple=True)
        changed = {name: tensor.clone() for name, tensor in placed.columns().items() if name in other.columns()}
        for name, tensor in changed.items():
            tensor[rows[row], starts[row] + column] = getattr(other, name)[row, column]
        return replace(placed, **changed)

    @property
    def inputs(self) -> MixtureInputs:
        """The mixtures to feed the model when the record is replayed."""
        return MixtureInputs(self.candidate_ids, self.log_weights, self.mixture_mask)

    def mixtures(self, visible_ids: Int[Tensor, "B C"]) -> Mixture:
        """The draws at the thinking positions, row by row, with the visible tokens there."""
        mask = self.thinking_mask
        return Mixture(self.candidate_ids[mask].long(), self.log_weights[mask], visible_ids[mask])


class UncastRollout:
    """Carries a record to a model's forward through wrappers that cast their tensor arguments.

    FSDP's mixed precision casts all tensors that it finds, in dataclasses, too, while log-weights must stay in
    float32. It does not search plain objects.
    """

    def __init__(self, rollout: Rollout) -> None:
        self.rollout = rollout
