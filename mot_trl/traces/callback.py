"""The callback that samples completions while training, and writes them as traces between steps."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerBase, TrainerCallback, TrainerState
from transformers.utils import logging

from mot_trl.generation.phases import BudgetRule, ColdStopRule, Phases, Rule
from mot_trl.generation.stop_text import TextRule
from mot_trl.modeling.rollout import Rollout
from mot_trl.strategies import Strategy
from mot_trl.traces.storage import FOLDER, set_aside, write_trace
from mot_trl.traces.table import TracedCompletions, to_table

logger = logging.get_logger(__name__)

TRACE_ROW = "trace_row"

CAUSES: Mapping[type[Rule], str] = {TextRule: "stop_text", BudgetRule: "budget", ColdStopRule: "cold_stop"}


@dataclass
class _OpenTrace:
    """A trace that is not written yet.

    Attributes:
        completions: This process's completions, one entry per generation.
        entropies: Entropies (nats) per token, by a completion's number; filled as the loss computes them.
        num_completions: Completions in the trace so far, over all processes.
    """

    completions: list[TracedCompletions] = field(default_factory=list)
    entropies: dict[int, Float[Tensor, " C"]] = field(default_factory=dict)
    num_completions: int = 0


class TraceCallback(TrainerCallback):
    """Trace some completions of every `trace_steps`-th step and of each evaluation.

    A trace is built in three moves, and costs the decoder nothing: `add_completions` copies a sample of the batch
    that TRL has generated and scored, `add_entropies` keeps the entropies that the loss computes anyway, and the file
    is written when the last traced row of this process has passed the loss. Each process writes its share to a file
    of its own, so none waits for another.

    Args:
        args: The run's `MoTGRPOConfig`.
        tokenizer: Decodes the tokens.
        phases: The rules that end thinking; `closed_by` names the one that did.
        strategy: Named in the file's metadata, which holds what is needed to score the draws again.
        reward_weights: Weight of each reward function, in order.
    """

    def __init__(
        self,
        args: Any,
        tokenizer: PreTrainedTokenizerBase,
        phases: Phases,
        strategy: Strategy,
        reward_weights: Sequence[float],
    ) -> None:
        self.args, self.tokenizer, self.reward_weights = args, tokenizer, reward_weights
        self.folder = Path(args.output_dir) / FOLDER
        self.causes = [CAUSES.get(type(rule), type(rule).__name__) for rule in phases.rules]
        names = ("mixture_score", "temperature", "max_completion_length")
        self.metadata = {"strategy": repr(strategy), **{name: getattr(args, name) for name in names}}
        self.next_step = 0
        # An evaluation interrupts training, possibly while a training trace is still open.
        self._open = {"train": _OpenTrace(), "eval": _OpenTrace()}
        self._written_evals: dict[int, int] = {}

    def add_completions(
        self,
        batch: Mapping[str, Tensor],
        *,
        step: int,
        split: str,
        group_size: int,
        rewards: Mapping[str, Sequence[float]],
    ) -> dict[str, Tensor]:
        """Copy this process's share of the sample out of a batch that TRL has generated and scored.

        Args:
            batch: What TRL shuffles and splits, the rollout's tensors included.
            step: Optimizer steps done so far.
            split: `train` or `eval`.
            group_size: Completions per prompt.
            rewards: By reward function, the rewards of all processes' rows in order; NaN where it could not judge.

        Returns:
            A column to add to the batch: each row's number within the trace, -1 if it is not traced. Empty if no row
            is.
        """
        if split == "train":
            # The previous generation is used up. A trace of it that is still open lacks entropies of rows that never
            # reached the loss, and is written without them.
            self._write("train")
            if step < self.next_step:
                return {}
            # A generation may serve several steps, so it need not begin at a multiple of `trace_steps`. The first one
            # at or after each multiple is traced; counting from here instead would let the steps drift.
            self.next_step = step - step % self.args.trace_steps + self.args.trace_steps
        trace, size = self._open[split], len(batch["completion_ids"])
        first, wanted = self.args.process_index * size, self.args.trace_samples - trace.num_completions
        # Every process makes the same choice over the rows of all and keeps its own, without any communication.
        chosen = traced_rows(wanted, rows=size, processes=self.args.world_size, group_size=group_size)
        numbers = {
            row - first: trace.num_completions + order
            for order, row in enumerate(chosen)
            if first <= row < first + size
        }
        trace.num_completions += len(chosen)
        if not numbers:
            return {}
        own_rewards = {
            name: [None if math.isnan(values[first + row]) else values[first + row] for row in numbers]
            for name, values in rewards.items()
        }
        trace.completions.append(
            TracedCompletions(
                step=step + (split == "train"),
                split=split,
                **_to_cpu(batch, list(numbers)),
                rewards=own_rewards,
                reward=[weighted_sum(row, self.reward_weights) for row in zip(*own_rewards.values(), strict=True)],
                group_size=group_size,
                numbers=list(numbers.values()),
            )
        )
        # TRL shuffles and splits the batch before the loss: the column leads the entropies back to their completions.
        column = torch.full((size,), -1)
        column[list(numbers)] = torch.tensor(list(numbers.values()))
        return {TRACE_ROW: column.to(batch["completion_ids"].device)}

    def add_entropies(
        self, inputs: Mapping[str, Tensor], entropies: Float[Tensor, "B C"] | None, *, split: str
    ) -> None:
        """Keep the entropies (nats) that the loss computed for a part of the batch."""
        trace = self._open[split]
        if not trace.completions or entropies is None or TRACE_ROW not in inputs:
            return
        for row, number in enumerate(inputs[TRACE_ROW].tolist()):
            # With `num_iterations` above 1 a row passes the loss again, through a policy that did not generate it.
            if number >= 0 and number not in trace.entropies:
                trace.entropies[number] = entropies[row].detach().float().cpu()
        numbers = {number for part in trace.completions for number in part.numbers}
        # An evaluation's trace is open until its end: later batches may add to it.
        if split == "train" and numbers <= trace.entropies.keys():
            self._write("train")

    def on_train_begin(self, args: Any, state: TrainerState, *rest: Any, **kwargs: Any) -> None:
        """Trace the same steps when a run is resumed, and move away later traces that another run left behind."""
        self.next_step = math.ceil(state.global_step / self.args.trace_steps) * self.args.trace_steps
        if self.args.process_index:
            return
        try:
            aside = set_aside(self.folder, after=state.global_step)
        except OSError as error:
            logger.warning(f"Traces of another run stay in {self.folder}, they could not be moved: {error}")
        else:
            if aside:
                logger.warning(f"Traces that another run left of steps after {state.global_step} are now in {aside}.")

    def on_evaluate(self, *args: Any, **kwargs: Any) -> None:
        """Write the evaluation's trace."""
        self._write("eval")

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        """Write the trace that is still open, if any."""
        self._write("train")

    def _write(self, split: str) -> None:
        trace, self._open[split] = self._open[split], _OpenTrace()
        if not trace.completions:
            return
        step = trace.completions[0].step
        name = f"{split}_{step:06d}"
        if split == "eval":
            # With several evaluation datasets, one step is evaluated several times.
            seen = self._written_evals.get(step, 0)
            self._written_evals = {step: seen + 1}
            name += f"_{seen}" if seen else ""
        name += f"_process{self.args.process_index}" if self.args.process_index else ""
        # Models such as Qwen2.5 also stop at the padding token.
        end_ids = frozenset((self.tokenizer.eos_token_id, self.tokenizer.pad_token_id))
        tables = [
            to_table(part, self.tokenizer, entropies=trace.entropies, causes=self.causes, end_ids=end_ids)
            for part in trace.completions
        ]
        try:
            write_trace(pa.concat_tables(tables), self.folder / f"{name}.parquet", self.metadata)
        except OSError as error:
            # A full disk must not end a run over a diagnostic.
            logger.warning(f"The trace {name} could not be written, and training goes on without it: {error}")


def _to_cpu(batch: Mapping[str, Tensor], rows: list[int]) -> dict[str, Any]:
    """Copies of some rows of a batch, as fields of `TracedCompletions`; ids without their padding."""

    def cpu(tensor: Tensor) -> Tensor:
        return tensor.detach()[torch.tensor(rows, device=tensor.device)].cpu()

    prompt_mask, completion_mask = (cpu(batch[name]).bool() for name in ("prompt_mask", "completion_mask"))
    # With `mask_truncated_completions` TRL masks a completion that was cut short; it fills all columns.
    completion_mask |= ~completion_mask.any(dim=1, keepdim=True)
    record = Rollout.from_batch(batch)
    return {
        "prompt_ids": [ids[mask].tolist() for ids, mask in zip(cpu(batch["prompt_ids"]), prompt_mask, strict=True)],
        "completion_ids": [
            ids[mask].tolist() for ids, mask in zip(cpu(batch["completion_ids"]), completion_mask, strict=True)
        ],
        "rollout": Rollout(**{name: cpu(values) for name, values in vars(record).items()}),
        "advantages": cpu(batch["advantages"]).tolist(),
    }


def traced_rows(count: int, *, rows: int, processes: int, group_size: int) -> list[int]:
    """Choose `count` of all processes' rows: a whole group of each process, then the next group of each.

    The rows of process `p` are numbered from `p * rows` on. A group belongs to the process where it begins.
    """
    starts = sorted(range(0, rows * processes, group_size), key=lambda start: (start % rows, start))
    return [row for start in starts for row in range(start, min(start + group_size, rows * processes))][:count]


def weighted_sum(values: Sequence[float | None], weights: Sequence[float]) -> float | None:
    """The reward as TRL sums it: over the functions that could judge; None if none could."""
    terms = [value * weight for value, weight in zip(values, weights, strict=True) if value is not None]
    return sum(terms) if terms else None
