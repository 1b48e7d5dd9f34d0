"""The callback that samples completions while training, and writes them as traces between steps."""

import math
from collections.abc import Collection, Mapping, Sequence
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
from mot_trl.strategies import Strategy
from mot_trl.traces.row import completion_columns, reward_columns
from mot_trl.traces.schema import SCHEMA, VERSION
from mot_trl.traces.storage import FOLDER, set_aside, write_trace

logger = logging.get_logger(__name__)

# Batch column: the row's number within the trace, -1 if it is not traced.
TRACE_ROW = "trace_row"

# What `closed_by` says for each rule; a rule of the user's own goes by its class name.
CAUSES: Mapping[type[Rule], str] = {TextRule: "stop_text", BudgetRule: "budget", ColdStopRule: "cold_stop"}


@dataclass
class _OpenTrace:
    """A trace that is not written yet: this process's `rows` of the file, by number within the trace.

    `unscored` rows wait for the loss to compute their entropies; `num_completions` counts those of all processes.
    """

    rows: dict[int, dict[str, Any]] = field(default_factory=dict)
    unscored: set[int] = field(default_factory=set)
    num_completions: int = 0


class TraceCallback(TrainerCallback):
    """Trace some completions of every `trace_steps`-th step and of each evaluation.

    Nothing happens while decoding. `add_completions` copies a sample of the batch that TRL has generated and scored,
    `add_entropies` keeps the entropies that the loss computes anyway, and the file is written when the last traced
    row of this process has passed the loss. Each process writes a file of its own, so none waits for another.

    `args` is the run's `MoTGRPOConfig`; `reward_weights` has a weight for each reward function, in order; `end_ids`
    are the tokens that end completions.
    """

    def __init__(
        self,
        args: Any,
        tokenizer: PreTrainedTokenizerBase,
        phases: Phases,
        strategy: Strategy,
        reward_weights: Sequence[float],
        end_ids: Collection[int],
    ) -> None:
        self.args, self.tokenizer, self.reward_weights, self.end_ids = args, tokenizer, reward_weights, end_ids
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

        Returns the column `TRACE_ROW` to add to the batch; empty if no row is traced.

        Args:
            batch: What TRL shuffles and splits, the rollout's tensors included.
            step: Optimizer steps done so far.
            rewards: By reward function, the rewards of all processes' rows in order; NaN where it could not judge.
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
        column = torch.full((size,), -1)
        for number, row in enumerate(chosen, start=trace.num_completions):
            if first <= row < first + size:
                trace.rows[number] = {
                    "version": VERSION,
                    "step": step + (split == "train"),
                    "split": split,
                    "group": number // group_size,
                    "sample": number,
                    **completion_columns(
                        batch, row - first, tokenizer=self.tokenizer, causes=self.causes, end_ids=self.end_ids
                    ),
                    **reward_columns({name: values[row] for name, values in rewards.items()}, self.reward_weights),
                }
                trace.unscored.add(number)
                column[row - first] = number
        trace.num_completions += len(chosen)
        # TRL shuffles and splits the batch before the loss: the column leads the entropies back to their rows.
        return {TRACE_ROW: column.to(batch["completion_ids"].device)} if column.max() >= 0 else {}

    def add_entropies(
        self, inputs: Mapping[str, Tensor], entropies: Float[Tensor, "B C"] | None, *, split: str
    ) -> None:
        """Keep the entropies (nats) that the loss computed for a part of the batch."""
        trace = self._open[split]
        if not trace.unscored or entropies is None or TRACE_ROW not in inputs:
            return
        for row, number in enumerate(inputs[TRACE_ROW].tolist()):
            # With `num_iterations` above 1 a row passes the loss again, through a policy that did not generate it.
            if number in trace.unscored:
                length = len(trace.rows[number]["tokens"])
                values = entropies[row, :length].detach().float().tolist()
                trace.rows[number]["entropies"] = [None if math.isnan(value) else value for value in values]
                trace.unscored.remove(number)
        # An evaluation's trace is open until its end: later batches may add to it.
        if split == "train" and not trace.unscored:
            self._write("train")

    def on_train_begin(self, args: Any, state: TrainerState, *rest: Any, **kwargs: Any) -> None:
        """Trace the same steps when a run is resumed, and move away later traces that another run left behind."""
        # After a checkpoint at step 2 with `trace_steps=3`, the uninterrupted run would have traced from step 3 on.
        self.next_step = math.ceil(state.global_step / self.args.trace_steps) * self.args.trace_steps
        if self.args.process_index:
            return
        try:
            if aside := set_aside(self.folder, after=state.global_step):
                logger.warning(f"Traces that another run left of steps after {state.global_step} are now in {aside}.")
        except OSError as error:
            logger.warning(f"Traces of another run stay in {self.folder}, they could not be moved: {error}")

    def on_evaluate(self, *args: Any, **kwargs: Any) -> None:
        """Write the evaluation's trace."""
        self._write("eval")

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        """Write the trace that is still open, if any."""
        self._write("train")

    def _write(self, split: str) -> None:
        trace, self._open[split] = self._open[split], _OpenTrace()
        if not trace.rows:
            return
        step = next(iter(trace.rows.values()))["step"]
        name = f"{split}_{step:06d}"
        if split == "eval":
            # With several evaluation datasets, one step is evaluated several times.
            seen = self._written_evals.get(step, 0)
            self._written_evals = {step: seen + 1}
            name += f"_{seen}" if seen else ""
        name += f"_process{self.args.process_index}" if self.args.process_index else ""
        table = pa.Table.from_pylist(list(trace.rows.values()), schema=SCHEMA)
        try:
            write_trace(table, self.folder / f"{name}.parquet", self.metadata)
        except OSError as error:
            # A full disk must not end a run over a diagnostic.
            logger.warning(f"The trace {name} could not be written, and training continues without it: {error}")


def traced_rows(count: int, *, rows: int, processes: int, group_size: int) -> list[int]:
    """Choose `count` of all processes' rows: a whole group of each process, then the next group of each.

    The rows of process `p` are numbered from `p * rows` on. A group belongs to the process where it begins.
    """
    # By position within the process first: the first groups of all processes come before any second one.
    starts = sorted(range(0, rows * processes, group_size), key=lambda start: (start % rows, start))
    return [row for start in starts for row in range(start, min(start + group_size, rows * processes))][:count]
