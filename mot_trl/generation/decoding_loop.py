"""The decoding loop: which rows are still running, what each step draws, and what is recorded of it."""

import math
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList
from transformers.utils import logging

from mot_trl.generation.logits_processors import are_rowwise, select_rows
from mot_trl.generation.phases import Phases
from mot_trl.modeling.cpu_linear import is_compiled, without_version_counters
from mot_trl.modeling.distributed import is_sharded
from mot_trl.modeling.embedding import EmbeddingOverride
from mot_trl.modeling.kv_cache import preallocate
from mot_trl.modeling.rollout import Rollout
from mot_trl.modeling.shared_kv_cache import expand
from mot_trl.strategies import Strategy
from mot_trl.strategies.mixture import Mixture, MixtureInputs, is_mixed
from mot_trl.strategies.one_token import OneToken
from mot_trl.strategies.surrogate import LogProbType, score

logger = logging.get_logger(__name__)

# The inputs that have one row a completion; a model with others keeps all its rows to the end.
ROW_INPUTS = ("attention_mask", "position_ids", "token_type_ids")


def steps_between_checks(device: torch.device) -> int:
    """How many steps the host goes on without asking what is left to do; accelerators run ahead of it."""
    return 1 if device.type == "cpu" else 8


class Step(NamedTuple):
    """What one step drew in the `N` running rows, and what the model is fed of it."""

    mixture: Mixture
    thinking_mask: Bool[Tensor, " N"]
    mixture_mask: Bool[Tensor, " N"]

    def select(self, indices: Int[Tensor, " M"]) -> "Step":
        """The rows `indices`."""
        mixture = Mixture(*(tensor[indices] for tensor in self.mixture))
        return Step(mixture, self.thinking_mask[indices], self.mixture_mask[indices])


class Decoding:
    """One batch of completions in the making.

    Attributes:
        completion_ids: Visible tokens, padded on the right.
        length: Tokens decoded so far.
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
        self.model, self.without_version_counters, self.generation_config = (
            model,
            without_version_counters(model),
            generation_config,
        )
        self.model_kwargs: dict[str, Any] = model_kwargs
        if getattr(model.config.get_text_config(), "output_router_logits", False):
            # Generation has no use for the routers' loss, whose mask does not fit single tokens.
            self.model_kwargs = {**model_kwargs, "output_router_logits": False}
        self.logits_processor, self.stopping_criteria = logits_processor, stopping_criteria
        self.greedy = not generation_config.do_sample
        self.pad_token_id = generation_config.pad_token_id or 0
        self.end_token_id = _first(generation_config.eos_token_id, default=self.pad_token_id)
        self.synced = _world_size() > 1 and is_sharded(model)
        self.steps_between_checks = steps_between_checks(device)

        self.length = 0
        max_new_tokens = max_length - input_ids.size(1)
        self.completion_ids = input_ids.new_full((rows, max_new_tokens), self.pad_token_id)
        self.rollout: Rollout | None = None
        self.lengths = torch.zeros(rows, dtype=torch.long, device=device)

        # From here on, tensors have one row for each completion that is still in the batch: all, or those of a number.
        self.rows: slice | Int[Tensor, " N"] = slice(None)
        self.input_ids = input_ids
        self.finished = torch.zeros(rows, dtype=torch.bool, device=device)
        self.phase = phases.begin(rows, device)
        self.last: Step | None = None
        self.unfinished_rows = self.undecided_rows = rows
        self.thinking_rows = 0 if phases.start else rows

        self.selectable = self._make_selectable()

    @property
    def use_cache(self) -> bool:
        """Whether the model remembers what it has read."""
        return bool(self.model_kwargs.get("use_cache", True))

    @property
    def is_long(self) -> bool:
        """Whether there are steps enough, and rows, for what prepares the model for them to pay."""
        rows, max_new_tokens = self.completion_ids.shape
        return rows > 1 and max_new_tokens >= 64

    def goes_on(self) -> bool:
        """Whether any row is left to decode; drops those that have ended."""
        if self.length == self.completion_ids.size(1):
            return self._peers_go_on(running=False)
        if self.length and self.length % self.steps_between_checks == 0:
            self._count()
            if self.unfinished_rows and self.selectable and self._worth_dropping():
                self._select((~self.finished).nonzero().squeeze(-1))
        return self._peers_go_on(running=self.unfinished_rows > 0)

    def forward(self, override: EmbeddingOverride) -> Float[Tensor, "N V"]:
        """Logits of the next token, the last step's mixtures fed through `override`."""
        with self.without_version_counters():
            return self._prefill() if self.last is None else self._step(self.last, override)

    def _step(self, last: Step, override: EmbeddingOverride) -> Float[Tensor, "N V"]:
        if self.use_cache:
            mixture = last.mixture
            fed = (mixture.candidate_ids, mixture.log_weights, last.mixture_mask)
            override.inputs = MixtureInputs(*(tensor.unsqueeze(1) for tensor in fed))
        elif self.rollout is not None:
            override.inputs = self.rollout.resize(self.length).inputs
        inputs = self.model.prepare_inputs_for_generation(
            self.input_ids, next_sequence_length=1 if self.use_cache else None, **self.model_kwargs
        )
        outputs = self.model(**inputs, return_dict=True)
        self.model_kwargs = self.model._update_model_kwargs_for_generation(outputs, self.model_kwargs)
        return outputs.logits[:, -1]

    def advance(self, logits: Float[Tensor, "N V"]) -> None:
        """Draw a token or a mixture in each row, decide what becomes of the row, and record it."""
        if self.length == self.completion_ids.size(1):
            return  # only the other processes are still at work
        scores: Any = logits.float()
        for processor in self.logits_processor:  # the list would ask each, at each step, for its signature
            scores = processor(self.input_ids, scores)
        logps, broken = _repaired(scores.log_softmax(dim=-1))
        broken &= ~self.finished
        thinking_mask = self.phase.thinking & ~broken
        mixture, token_ids = self._draw(logps)
        visible_ids, forced_mask, phase = self.phases.force(
            self.phase, torch.where(thinking_mask, mixture.visible_ids, token_ids)
        )
        visible_ids = visible_ids.masked_fill(self.finished, self.pad_token_id)
        visible_ids, forced_mask = visible_ids.masked_fill(broken, self.end_token_id), forced_mask | broken
        silent = self.finished | forced_mask
        draw_logps = self._logps_of(logps, mixture, visible_ids, thinking_mask).masked_fill(silent, 0.0)

        self.lengths[self.rows] += ~self.finished
        self.input_ids = torch.cat([self.input_ids, visible_ids.unsqueeze(-1)], dim=-1)
        finished = self.finished | broken | self.stopping_criteria(self.input_ids, None)
        self.phase = self.phases.advance(phase, visible_ids, logps, finished)
        self.finished = finished

        # The token that completes the closing tag is fed as itself; a mixture before a forced tag stays one.
        closes = thinking_mask & ~self.phase.thinking & (self.phase.forced < 0)
        mixture_mask = thinking_mask & ~closes & is_mixed(mixture.log_weights)
        self.last = Step(mixture, thinking_mask, mixture_mask)
        self._record(self.last, visible_ids, forced_mask, draw_logps, broken)

    def result(self) -> tuple[Int[Tensor, "B C"], Rollout]:
        """The completions, cut to the longest, and their record."""
        if self.rollout is None:
            raise ValueError("Nothing was decoded: `max_new_tokens` must be at least 1.")
        length = int(self.lengths.max())
        if self.rollout.broken.any():
            logger.warning_once(
                f"{type(self.model).__name__} gave NaN or infinite logits in some rows, which end there. Half "
                "precision overflows: try bfloat16 or float32. If it happens in all rows, the weights are not finite."
            )
        return self.completion_ids[:, :length], self.rollout.resize(length)

    def _draw(self, logps: Float[Tensor, "N V"]) -> tuple[Mixture, Int[Tensor, " N"]]:
        """The mixture of each thinking row and the token of each answering one."""
        if self.greedy:
            candidate_ids = logps.argmax(dim=-1, keepdim=True)
        elif self.undecided_rows and self.strategy != OneToken():
            mixture = self.strategy.draw(logps)
            if self.thinking_rows == self.unfinished_rows and self.steps_between_checks == 1:
                return mixture, mixture.visible_ids
            return mixture, torch.multinomial(logps.exp(), 1).squeeze(-1)
        else:
            candidate_ids = torch.multinomial(logps.exp(), 1)
        token_ids = candidate_ids.squeeze(-1)
        return Mixture(candidate_ids, torch.zeros_like(candidate_ids, dtype=torch.float32), token_ids), token_ids

    def _logps_of(
        self,
        logps: Float[Tensor, "N V"],
        mixture: Mixture,
        visible_ids: Int[Tensor, " N"],
        thinking_mask: Bool[Tensor, " N"],
    ) -> Float[Tensor, " N"]:
        visible_logps = logps.gather(-1, visible_ids.unsqueeze(-1)).squeeze(-1)
        if mixture.candidate_ids.size(-1) == 1:
            return visible_logps
        scores = score(self.strategy, logps.gather(-1, mixture.candidate_ids), mixture, how=self.mixture_score)
        return torch.where(thinking_mask, scores, visible_logps)

    def _record(
        self,
        step: Step,
        visible_ids: Int[Tensor, " N"],
        forced_mask: Bool[Tensor, " N"],
        draw_logps: Float[Tensor, " N"],
        broken: Bool[Tensor, " N"],
    ) -> None:
        mixture, thinking_mask, mixture_mask = step
        num_candidates = mixture.candidate_ids.size(-1)
        if self.rollout is None:
            rows, length = self.completion_ids.shape
            self.rollout = Rollout.empty(rows, length, num_candidates=num_candidates, device=visible_ids.device)
        record, rows, column = self.rollout, self.rows, self.length
        self.completion_ids[rows, column] = visible_ids
        drawn = thinking_mask.unsqueeze(-1)
        blank = torch.where(torch.arange(num_candidates, device=drawn.device) == 0, 0.0, -torch.inf)
        record.candidate_ids[rows, column, :num_candidates] = torch.where(drawn, mixture.candidate_ids, 0).int()
        record.log_weights[rows, column, :num_candidates] = torch.where(drawn, mixture.log_weights, blank)
        record.thinking_mask[rows, column] = thinking_mask
        record.mixture_mask[rows, column] = mixture_mask
        record.forced_mask[rows, column] = forced_mask
        record.logps[rows, column] = draw_logps
        record.closed_by[rows] = self.phase.closed_by.to(torch.int8)
        record.broken[rows] |= broken
        self.length += 1

    def _prefill(self) -> Float[Tensor, "N V"]:
        """Read the prompts, each distinct one of a run of equals once."""
        input_ids, inverse = self.input_ids, None
        if self.selectable:
            mask = self.model_kwargs.get("attention_mask")
            keys = input_ids if mask is None else torch.cat([input_ids, mask], dim=-1)
            _, inverse = torch.unique_consecutive(keys, dim=0, return_inverse=True)
            first = torch.searchsorted(inverse, torch.arange(int(inverse[-1]) + 1, device=inverse.device))
            if len(first) == len(inverse):
                inverse = None
            else:
                input_ids = input_ids[first]
                self._select_inputs(first)
        outputs = self.model._prefill(input_ids, self.generation_config, self.model_kwargs)
        self.model_kwargs = self.model._update_model_kwargs_for_generation(outputs, self.model_kwargs)
        logits = outputs.logits[:, -1]
        if inverse is None:
            return logits
        self._select_inputs(inverse)
        expand(self.model_kwargs["past_key_values"], inverse, share=self._attends_in_parts())
        return logits[inverse]

    def _make_selectable(self) -> bool:
        """Prepare the cache; whether rows can be expanded and dropped."""
        tensors = {name: value for name, value in self.model_kwargs.items() if isinstance(value, Tensor)}
        if not self.use_cache or any(name not in ROW_INPUTS or value.dim() != 2 for name, value in tensors.items()):
            return False
        if self.model_kwargs.get("mm_encoder_outputs"):
            return False  # `generate` has encoded the images by now, and prompts that look equal may show others
        cache = self.model_kwargs.get("past_key_values")
        if getattr(cache, "_is_user_defined", False):
            return False  # the caller may go on from it, and expects all its rows there
        if not preallocate(cache):
            logger.warning_once(
                f"The rows of a {type(cache).__name__} of {type(self.model).__name__} cannot be selected, so rollouts "
                "take the plain path: correct, but no faster than transformers' own."
            )
            return False
        return True

    def _attends_in_parts(self) -> bool:
        """Whether the model's attention is the one that `cascading` stands in for, in the cache's own precision."""
        implementation = self.model.config.get_text_config(decoder=True)._attn_implementation
        return implementation == "sdpa" and not torch.is_autocast_enabled("cpu") and not is_compiled(self.model)

    def _worth_dropping(self) -> bool:
        """Whether enough rows have ended to pay for one copy of the cache."""
        rows = len(self.finished)
        rowwise = are_rowwise(self.logits_processor, self.stopping_criteria)
        return rowwise and self.unfinished_rows <= rows - max(1, rows // 8)

    def _select(self, indices: Int[Tensor, " M"]) -> None:
        self.rows = indices if isinstance(self.rows, slice) else self.rows[indices]
        self.input_ids, self.finished = self.input_ids[indices], self.finished[indices]
        self.phase = self.phase.select(indices)
        self.logits_processor = select_rows(self.logits_processor, indices)
        self.last = self.last.select(indices) if self.last else None
        self._select_inputs(indices)
        self.model_kwargs["past_key_values"].reorder_cache(indices)

    def _select_inputs(self, indices: Int[Tensor, " M"]) -> None:
        tensors = {name: value[indices] for name, value in self.model_kwargs.items() if isinstance(value, Tensor)}
        self.model_kwargs = {**self.model_kwargs, **tensors}

    def _count(self) -> None:
        """Ask the device, once, how many rows are in which phase."""
        thinking, undecided = self.phase.thinking, self.phase.thinking | self.phase.waiting
        counts = torch.stack([(~self.finished).sum(), thinking.sum(), undecided.sum()])
        self.unfinished_rows, self.thinking_rows, self.undecided_rows = counts.tolist()

    def _peers_go_on(self, *, running: bool) -> bool:
        """Whether this process, or under sharded weights any other, has rows left: all must keep step."""
        if not self.synced:
            return running
        flag = torch.tensor(float(running), device=self.input_ids.device)
        dist.all_reduce(flag, op=dist.ReduceOp.MAX)
        return bool(flag)


def _repaired(logps: Float[Tensor, "N V"]) -> tuple[Float[Tensor, "N V"], Bool[Tensor, " N"]]:
    """Log-probabilities that one can draw from in every row, in place; the rows where they had been NaN."""
    # The sum over a row that holds NaN or infinity is NaN, and so is each of its log-probabilities.
    broken = logps[:, 0].isnan()
    return logps.masked_fill_(broken.unsqueeze(-1), -math.log(logps.size(-1))), broken


def _first(token_ids: int | list[int] | None, *, default: int) -> int:
    """The first of the ids that end a completion."""
    if token_ids is None or token_ids == []:
        return default
    return token_ids[0] if isinstance(token_ids, list) else token_ids


def _world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
