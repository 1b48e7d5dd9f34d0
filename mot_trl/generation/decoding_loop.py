"""The decoding loop: each step draws a mixture or token in each running row, ends rows, and records the step."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import LogitsProcessorList, StoppingCriteriaList
from transformers.utils import logging

from mot_trl.generation.forward_pass import ForwardPass
from mot_trl.generation.logits_processors import are_rowwise, select_rows
from mot_trl.generation.phases import PhaseState
from mot_trl.generation.step import Step, StepRules, log_probs, most_likely
from mot_trl.modeling.distributed import is_sharded
from mot_trl.modeling.embedding import EmbeddingOverride
from mot_trl.modeling.rollout import Rollout
from mot_trl.strategies.mixture import Mixture, MixtureInputs
from mot_trl.strategies.one_token import OneToken

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
        finished: Rows that have ended, and draw padding until they leave.
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


@dataclass
class DecodingLoop:
    """One batch of completions, from prompts to rollout; `length` counts its steps."""

    rules: StepRules
    forward_pass: ForwardPass
    input_ids: Int[Tensor, "B P"]
    max_new_tokens: int
    logits_processor: LogitsProcessorList
    stopping_criteria: StoppingCriteriaList
    history: Rollout | None = None
    """What was drawn in the last columns of `input_ids`, in earlier turns of a conversation."""

    length: int = 0
    rollout: Rollout | None = None

    def __post_init__(self) -> None:
        """Start with every row in the batch, and none of its columns filled."""
        rows, device = len(self.input_ids), self.input_ids.device
        self.steps_between_checks = steps_between_checks(device)
        rowwise = are_rowwise(self.logits_processor, self.stopping_criteria)
        self.can_drop_rows = rowwise and self.forward_pass.can_select_rows
        is_parallel = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        self.in_step_with_peers = is_parallel and is_sharded(self.forward_pass.model)
        config = self.forward_pass.generation_config
        self.pad_token_id = config.pad_token_id or 0
        end_ids = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
        self.end_token_id = next((each for each in end_ids if each is not None), self.pad_token_id)

        self.completion_ids = self.input_ids.new_full((rows, self.max_new_tokens), self.pad_token_id)
        self.completion_lengths = torch.zeros(rows, dtype=torch.long, device=device)
        finished = torch.zeros(rows, dtype=torch.bool, device=device)
        spent = None if self.history is None else self.history.thinking_mask.sum(dim=1)
        phase = self.rules.phases.begin(rows, device, spent=spent)
        self.active = ActiveRows(slice(None), self.input_ids, finished, phase)
        self.counts = RowCounts(running=rows, thinking=0 if self.rules.phases.start else rows, undecided=rows)

    def is_running(self) -> bool:
        """Whether another step is due, in this process or a peer; lets finished rows leave first."""
        if self.length == self.max_new_tokens:
            return self._any_peer(running=False)
        if self.length and self.length % self.steps_between_checks == 0:
            finished, phase = self.active.finished, self.active.phase
            # Stacked, so that the host waits for the device once.
            counts = [(~finished).sum(), phase.thinking.sum(), (phase.thinking | phase.waiting).sum()]
            self.counts = RowCounts(*torch.stack(counts).tolist())
            self._drop_finished()
        return self._any_peer(running=self.counts.running > 0)

    def forward(self, override: EmbeddingOverride) -> Float[Tensor, "N V"]:
        """Logits of the next token, the model fed the last step's mixtures through `override`."""
        # For this call alone: logits processors and streamers may call the model, too.
        override.inputs = self._inputs()
        try:
            if self.rollout is None:
                return self._prefill(override)
            return self.forward_pass.step(self.active.input_ids)
        finally:
            override.inputs = None

    def _prefill(self, override: EmbeddingOverride) -> Float[Tensor, "N V"]:
        lookups, has_mixtures = override.calls, override.inputs is not None
        logits = self.forward_pass.prefill(self.active.input_ids, share_prompts=not has_mixtures)
        if has_mixtures and override.calls == lookups:
            raise RuntimeError(
                f"{type(self.forward_pass.model).__name__} does not look prompts up in its embedding module, so it "
                "cannot read the thoughts of earlier turns; let each completion be a single turn."
            )
        return logits

    def _inputs(self) -> MixtureInputs | None:
        """The mixtures among the columns that the model reads next."""
        # A conversation without a single mixture is read like any other prompt.
        history = None if self.history is None or not self.history.mixture_mask.any() else self.history
        if self.rollout is None:
            return None if history is None else history.inputs
        if self.forward_pass.use_cache:
            return self.active.fed
        # Without a cache the model reads the whole completion again, and all its mixtures with it.
        drawn = self.rollout.resize(self.length)
        if history is None:
            return drawn.inputs
        width = max(history.num_candidates, drawn.num_candidates)
        both = history.widen(width).inputs, drawn.widen(width).inputs
        return MixtureInputs(*(torch.cat(pair, dim=1) for pair in zip(*both, strict=True)))

    def advance(self, logits: Float[Tensor, "N V"]) -> None:
        """Draw a token or a mixture in each row, update the row's state, and record the step."""
        if self.length == self.max_new_tokens:
            return  # the forward pass was for peers only
        rows = self.active
        logps, non_finite = self._log_probs(logits)
        mixture, token_ids = self._draw(logps)

        def is_last(visible_ids: Int[Tensor, " N"]) -> Bool[Tensor, " N"]:
            rows.input_ids = torch.cat([rows.input_ids, visible_ids.unsqueeze(-1)], dim=-1)
            return self.stopping_criteria(rows.input_ids, None)

        step = self.rules.take(
            logps,
            rows.phase,
            mixture=mixture,
            token_ids=token_ids,
            finished=rows.finished,
            non_finite=non_finite,
            # A row with non-finite logits ends here, with an end token that it did not draw.
            filler_ids=torch.where(rows.finished, self.pad_token_id, self.end_token_id),
            is_last=is_last,
            scored=self.counts.undecided > 0,
        )
        self.completion_lengths[rows.indices] += ~rows.finished
        rows.finished, rows.phase = step.finished, step.phase
        fed = (step.candidate_ids, step.log_weights, step.mixture_mask)
        rows.fed = MixtureInputs(*(tensor.unsqueeze(1) for tensor in fed))
        self._record(step)

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
        return self.completion_ids[:, :length], replace(self.rollout.resize(length), lengths=self.completion_lengths)

    def _log_probs(self, logits: Float[Tensor, "N V"]) -> tuple[Float[Tensor, "N V"], Bool[Tensor, " N"]]:
        scores: Any = logits.float()
        # One by one: calling the list would inspect the signature of each processor at each step.
        for processor in self.logits_processor:
            scores = processor(self.active.input_ids, scores)
        return log_probs(scores)

    def _draw(self, logps: Float[Tensor, "N V"]) -> tuple[Mixture, Int[Tensor, " N"]]:
        """A mixture for each thinking row and a token for each answering one, or for each of both as its probe."""
        if not self.forward_pass.generation_config.do_sample:
            mixture = most_likely(logps)
            return mixture, mixture.visible_ids
        # Once all rows answer, as where a thought is a single token, one draw serves as both.
        strategy = self.rules.strategy if self.counts.undecided else OneToken()
        mixture = strategy.draw(logps)
        # The counts are exact only where they are taken at each step.
        all_think = self.counts.thinking == self.counts.running and self.steps_between_checks == 1
        if strategy == OneToken() or (all_think and not self.rules.draws_probes):
            return mixture, mixture.visible_ids
        return mixture, torch.multinomial(logps.exp(), 1).squeeze(-1)

    def _record(self, step: Step) -> None:
        """Write the step into column `length` of the record."""
        num_candidates, device = step.candidate_ids.size(-1), step.visible_ids.device
        if self.rollout is None:
            self.rollout = Rollout.empty(
                *self.completion_ids.shape,
                num_candidates=num_candidates,
                device=device,
                probes=self.rules.draws_probes,
            )
        record, rows, column = self.rollout, self.active.indices, self.length
        self.completion_ids[rows, column] = step.visible_ids
        probes = ("probe_ids", "probe_logps") if self.rules.draws_probes else ()
        for name in ("thinking_mask", "mixture_mask", "forced_mask", "logps", *probes):
            getattr(record, name)[rows, column] = getattr(step, name)
        for name in ("candidate_ids", "log_weights"):
            getattr(record, name)[rows, column, :num_candidates] = getattr(step, name)
        record.closed_by[rows] = step.phase.closed_by.to(torch.int8)
        record.non_finite[rows] |= step.non_finite
        self.length += 1

    def _drop_finished(self) -> None:
        """Let finished rows leave once they are an eighth, which pays for copying the cache without them."""
        rows = len(self.active.finished)
        if not 0 < self.counts.running <= rows - max(1, rows // 8) or not self.can_drop_rows:
            return
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
