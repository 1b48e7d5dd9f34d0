"""The decoding loop: each step draws a mixture or token in each running row, ends rows, and records the step."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList
from transformers.utils import logging

from mot_trl.generation.forward_pass import ForwardPass
from mot_trl.generation.logits_processors import are_rowwise, select_rows
from mot_trl.generation.phases import Phases, PhaseState
from mot_trl.modeling.distributed import is_sharded
from mot_trl.modeling.embedding import EmbeddingOverride
from mot_trl.modeling.rollout import Rollout
from mot_trl.strategies import Strategy
from mot_trl.strategies.mixture import Mixture, MixtureInputs, is_mixed
from mot_trl.strategies.one_token import OneToken
from mot_trl.strategies.surrogate import LogProbType, surrogate

logger = logging.get_logger(__name__)

# The life of one batch of B completions:
#
#   prefill   The model reads each distinct prompt once; cache and logits are then expanded to B rows.
#   step      logits (N, V) -> logits processors -> draw: a mixture where a row thinks, a token where it answers
#             -> force the closing tag where it is due -> record column `length` -> stop rules, stopping criteria.
#             Finished rows among the N draw padding. The next forward pass is fed the mixtures.
#   leave     Every step on a CPU, every 8 steps elsewhere, the host counts the rows that are still running. If enough
#             have finished, they leave `ActiveRows` and the cache: N shrinks. The record keeps all B rows.
#   cut       When no row is running, completions and record are cut to the longest completion.
#
# If the model's weights are sharded over processes, each forward pass is a collective: a process whose rows have all
# finished continues with padding until the last process has.


def steps_between_checks(device: torch.device) -> int:
    """Steps from one look at the device's counts to the next; a look stops an accelerator from running ahead."""
    return 1 if device.type == "cpu" else 8


class Step(NamedTuple):
    """What one step drew in the `N` active rows."""

    mixture: Mixture
    visible_ids: Int[Tensor, " N"]
    thinking_mask: Bool[Tensor, " N"]
    mixture_mask: Bool[Tensor, " N"]
    forced_mask: Bool[Tensor, " N"]
    logps: Float[Tensor, " N"]
    non_finite: Bool[Tensor, " N"]


class RowCounts(NamedTuple):
    """How many rows were in which state at the last check; the device may be some steps ahead."""

    running: int
    thinking: int
    undecided: int
    """Thinking, or waiting for the start text: only these can need the strategy before the next check."""


@dataclass
class ActiveRows:
    """State of the `N` rows that are still in the batch.

    Attributes:
        indices: Which of the `B` completions they are; a slice of all until the first row leaves.
        input_ids: Prompts and visible tokens.
        finished: Rows that have ended, and draw padding until they leave.
        phase: Thinking, answering or waiting, and the stop rules' states.
        fed: The last step's mixtures, for the next forward pass; None before the first step.
    """

    indices: slice | Int[Tensor, " N"]
    input_ids: Int[Tensor, "N S"]
    finished: Bool[Tensor, " N"]
    phase: PhaseState
    fed: MixtureInputs | None = None

    def select(self, kept: Int[Tensor, " M"]) -> "ActiveRows":
        """The rows `kept`, by their places among the active ones."""
        return ActiveRows(
            kept if isinstance(self.indices, slice) else self.indices[kept],
            self.input_ids[kept],
            self.finished[kept],
            self.phase.select(kept),
            None if self.fed is None else MixtureInputs(*(tensor[kept] for tensor in self.fed)),
        )


class DecodingLoop:
    """One batch of completions, from prompts to rollout.

    Attributes:
        completion_ids: Visible tokens, padded on the right.
        length: Number of steps so far.
    """

    def __init__(
        self,
        strategy: Strategy,
        phases: Phases,
        mixture_score: LogProbType,
        *,
        model: Any,
        max_length: int,
        input_ids: Int[Tensor, "B P"],
        logits_processor: LogitsProcessorList,
        stopping_criteria: StoppingCriteriaList,
        generation_config: GenerationConfig,
        model_kwargs: dict[str, Any],
    ) -> None:
        rows, device = input_ids.size(0), input_ids.device
        self.strategy, self.phases, self.mixture_score = strategy, phases, mixture_score
        self.forward_pass = ForwardPass(model, model_kwargs, generation_config)
        self.logits_processor, self.stopping_criteria = logits_processor, stopping_criteria
        self.greedy = not generation_config.do_sample
        self.pad_token_id = generation_config.pad_token_id or 0
        # What a row with non-finite logits ends with, as if it had drawn it.
        self.end_token_id = _first(generation_config.eos_token_id, default=self.pad_token_id)
        is_parallel = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        self.in_step_with_peers = is_parallel and is_sharded(model)
        self.steps_between_checks = steps_between_checks(device)

        # All B rows, column by column. The number of candidates is known after the first draw.
        self.length = 0
        self.completion_ids = input_ids.new_full((rows, max_length - input_ids.size(1)), self.pad_token_id)
        self.completion_lengths = torch.zeros(rows, dtype=torch.long, device=device)
        self.rollout: Rollout | None = None

        self.active = ActiveRows(
            slice(None),
            input_ids,
            torch.zeros(rows, dtype=torch.bool, device=device),
            phases.begin(rows, device),
        )
        self.counts = RowCounts(running=rows, thinking=0 if phases.start else rows, undecided=rows)

    @property
    def is_long(self) -> bool:
        """Whether there are rows and steps enough to repay preparing the model for them."""
        rows, max_new_tokens = self.completion_ids.shape
        return rows > 1 and max_new_tokens >= 64

    def is_running(self) -> bool:
        """Whether another step is due, in this process or a peer; lets finished rows leave first."""
        if self._is_full():
            return self._any_peer(running=False)
        if self.length and self.length % self.steps_between_checks == 0:
            self.counts = self._count()
            if self.counts.running and self.forward_pass.can_select_rows and self._is_worth_dropping():
                self._drop_finished()
        return self._any_peer(running=self.counts.running > 0)

    def forward(self, override: EmbeddingOverride) -> Float[Tensor, "N V"]:
        """Logits of the next token, the model fed the last step's mixtures through `override`."""
        if self.rollout is None:
            return self.forward_pass.prefill(self.active.input_ids)
        # Without a cache the model reads the whole completion again, and all its mixtures with it.
        cached = self.forward_pass.use_cache
        override.inputs = self.active.fed if cached else self.rollout.resize(self.length).inputs
        return self.forward_pass.step(self.active.input_ids)

    def advance(self, logits: Float[Tensor, "N V"]) -> None:
        """Draw a token or a mixture in each row, update the row's state, and record the step."""
        if self._is_full():
            return  # the forward pass was for peers only
        rows = self.active
        logps, non_finite = self._log_probs(logits)
        non_finite &= ~rows.finished
        thinking_mask = rows.phase.thinking & ~non_finite
        mixture, token_ids = self._draw(logps)
        sampled_ids = torch.where(thinking_mask, mixture.visible_ids, token_ids)
        visible_ids, forced_mask, phase = self.phases.force(rows.phase, sampled_ids)
        # A row with non-finite logits ends here, with an end token that it did not draw.
        visible_ids = visible_ids.masked_fill(rows.finished, self.pad_token_id)
        visible_ids, forced_mask = visible_ids.masked_fill(non_finite, self.end_token_id), forced_mask | non_finite
        draw_logps = self._draw_logps(logps, mixture, visible_ids, thinking_mask)
        draw_logps = draw_logps.masked_fill(rows.finished | forced_mask, 0.0)

        self.completion_lengths[rows.indices] += ~rows.finished
        rows.input_ids = torch.cat([rows.input_ids, visible_ids.unsqueeze(-1)], dim=-1)
        rows.finished = rows.finished | non_finite | self.stopping_criteria(rows.input_ids, None)
        rows.phase = self.phases.advance(phase, visible_ids, logps, rows.finished)

        # The token that completes the closing tag was drawn as a mixture and is fed as itself, so that the answer
        # begins after a token. Where the tag will be forced instead, the last thought stays a mixture.
        closes = thinking_mask & ~rows.phase.thinking & (rows.phase.forced < 0)
        mixture_mask = thinking_mask & ~closes & is_mixed(mixture.log_weights)
        fed = (mixture.candidate_ids, mixture.log_weights, mixture_mask)
        rows.fed = MixtureInputs(*(tensor.unsqueeze(1) for tensor in fed))
        self._record(Step(mixture, visible_ids, thinking_mask, mixture_mask, forced_mask, draw_logps, non_finite))

    def result(self) -> tuple[Int[Tensor, "B C"], Rollout]:
        """The completions, cut to the longest, and their rollout.

        Raises:
            ValueError: No step was taken.
        """
        if self.rollout is None:
            raise ValueError("Nothing was decoded: `max_new_tokens` must be at least 1.")
        length = int(self.completion_lengths.max())
        if self.rollout.non_finite.any():
            logger.warning_once(
                f"{type(self.forward_pass.model).__name__} gave NaN or infinite logits in some rows, which end there. "
                "Half precision overflows: try bfloat16 or float32. If it happens in all rows, the weights are not "
                "finite."
            )
        return self.completion_ids[:, :length], self.rollout.resize(length)

    def _log_probs(self, logits: Float[Tensor, "N V"]) -> tuple[Float[Tensor, "N V"], Bool[Tensor, " N"]]:
        """Log-probabilities to draw from, uniform in rows with NaN or infinite logits, and which rows those are."""
        scores: Any = logits.float()
        # One by one: calling the list would inspect the signature of each processor at each step.
        for processor in self.logits_processor:
            scores = processor(self.active.input_ids, scores)
        logps = scores.log_softmax(dim=-1)
        # NaN or infinity anywhere in a row makes its normalizer NaN, and with it the whole row: one column tells.
        non_finite = logps[:, 0].isnan()
        return logps.masked_fill_(non_finite.unsqueeze(-1), -math.log(logps.size(-1))), non_finite

    def _draw(self, logps: Float[Tensor, "N V"]) -> tuple[Mixture, Int[Tensor, " N"]]:
        """A mixture for each thinking row and a token for each answering one."""
        if self.greedy:
            candidate_ids = logps.argmax(dim=-1, keepdim=True)
        elif self.counts.undecided and self.strategy != OneToken():
            mixture = self.strategy.draw(logps)
            # The counts are exact only where they are taken at each step.
            if self.counts.thinking == self.counts.running and self.steps_between_checks == 1:
                return mixture, mixture.visible_ids
            return mixture, torch.multinomial(logps.exp(), 1).squeeze(-1)
        else:
            # All rows answer, or a thought is a single token: one draw serves as both.
            candidate_ids = torch.multinomial(logps.exp(), 1)
        token_ids = candidate_ids.squeeze(-1)
        return Mixture(candidate_ids, torch.zeros_like(candidate_ids, dtype=torch.float32), token_ids), token_ids

    def _draw_logps(
        self,
        logps: Float[Tensor, "N V"],
        mixture: Mixture,
        visible_ids: Int[Tensor, " N"],
        thinking_mask: Bool[Tensor, " N"],
    ) -> Float[Tensor, " N"]:
        """Log-probability (nats) of each row's draw, as the loss will score it."""
        visible_logps = logps.gather(-1, visible_ids.unsqueeze(-1)).squeeze(-1)
        if mixture.candidate_ids.size(-1) == 1:
            return visible_logps
        candidate_logps = logps.gather(-1, mixture.candidate_ids)
        scores = surrogate(self.strategy, candidate_logps, mixture, log_prob_type=self.mixture_score)
        return torch.where(thinking_mask, scores, visible_logps)

    def _record(self, step: Step) -> None:
        num_candidates = step.mixture.candidate_ids.size(-1)
        if self.rollout is None:
            rows, length = self.completion_ids.shape
            device = step.visible_ids.device
            self.rollout = Rollout.empty(rows, length, num_candidates=num_candidates, device=device)
        record, rows, column = self.rollout, self.active.indices, self.length
        self.completion_ids[rows, column] = step.visible_ids
        # Where no mixture was drawn the record holds its blank, whatever the strategy gave for the row.
        drawn = step.thinking_mask.unsqueeze(-1)
        blank = torch.where(torch.arange(num_candidates, device=drawn.device) == 0, 0.0, -torch.inf)
        # Once all rows answer, steps have one candidate; the other slots keep the record's blank.
        record.candidate_ids[rows, column, :num_candidates] = torch.where(drawn, step.mixture.candidate_ids, 0).int()
        record.log_weights[rows, column, :num_candidates] = torch.where(drawn, step.mixture.log_weights, blank)
        record.thinking_mask[rows, column] = step.thinking_mask
        record.mixture_mask[rows, column] = step.mixture_mask
        record.forced_mask[rows, column] = step.forced_mask
        record.logps[rows, column] = step.logps
        record.closed_by[rows] = self.active.phase.closed_by.to(torch.int8)
        record.non_finite[rows] |= step.non_finite
        self.length += 1

    def _is_full(self) -> bool:
        return self.length == self.completion_ids.size(1)

    def _count(self) -> RowCounts:
        """Ask the device, once, how many rows are in which state."""
        phase = self.active.phase
        counts = [(~self.active.finished).sum(), phase.thinking.sum(), (phase.thinking | phase.waiting).sum()]
        return RowCounts(*torch.stack(counts).tolist())

    def _is_worth_dropping(self) -> bool:
        """Whether an eighth of the rows have finished, which pays for copying the cache without them."""
        rows = len(self.active.finished)
        rowwise = are_rowwise(self.logits_processor, self.stopping_criteria)
        return rowwise and self.counts.running <= rows - max(1, rows // 8)

    def _drop_finished(self) -> None:
        kept = (~self.active.finished).nonzero().squeeze(-1)
        self.active = self.active.select(kept)
        self.logits_processor = select_rows(self.logits_processor, kept)
        self.forward_pass.select_rows(kept)

    def _any_peer(self, *, running: bool) -> bool:
        """Whether this process or, with sharded weights, any other has rows left."""
        if not self.in_step_with_peers:
            return running
        # Each process must call this equally often, hence at each step and also when its own rows are done.
        flag = torch.tensor(float(running), device=self.active.input_ids.device)
        dist.all_reduce(flag, op=dist.ReduceOp.MAX)
        return bool(flag)


def _first(token_ids: int | list[int] | None, *, default: int) -> int:
    if token_ids is None or token_ids == []:
        return default
    return token_ids[0] if isinstance(token_ids, list) else token_ids
