"""Writes a trace every so many steps: what the trainer hands over, sampled, copied and put on disk between steps."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerBase, TrainerCallback, TrainerState
from transformers.utils import logging

from mot_trl.phases import BudgetRule, ColdStopRule, Phases, Rule, TextRule
from mot_trl.rollout import Rollout
from mot_trl.strategies import Strategy
from mot_trl.traces.files import FOLDER, write_trace
from mot_trl.traces.table import Sampled, to_table

logger = logging.get_logger(__name__)

TRACE_ROW = "trace_row"

CAUSES: Mapping[type[Rule], str] = {TextRule: "stop_text", BudgetRule: "budget", ColdStopRule: "cold_stop"}


class TraceCallback(TrainerCallback):
    """Traces the first completions of a generation, once in `steps` steps, and those of every evaluation.

    The main process traces its own rows. Nothing is done while decoding: the record that the loss replays anyway is
    copied to the CPU, and the entropies are those that the loss computes anyway. A file is written when the last
    traced row has been scored, whole or not at all, so an interrupted run leaves readable files.

    Args:
        output_dir: The run's folder; files go to its `traces`.
        tokenizer: Gives the tokens' texts.
        steps: Optimizer steps from one trace to the next.
        samples: Completions in a trace.
        phases: The rules that end thinking, by whose names `closed_by` tells why it ended.
        reward_weights: Weight of each reward function, in order.
        metadata: Written into each file: what one needs to know to score the draws again.
    """

    def __init__(
        self,
        output_dir: str | Path,
        tokenizer: PreTrainedTokenizerBase,
        *,
        steps: int,
        samples: int,
        phases: Phases,
        reward_weights: Sequence[float],
        metadata: Mapping[str, Any],
    ) -> None:
        self.folder = Path(output_dir) / FOLDER
        self.tokenizer, self.steps, self.samples = tokenizer, steps, samples
        self.causes = [CAUSES.get(type(rule), type(rule).__name__) for rule in phases.rules]
        self.reward_weights, self.metadata = list(reward_weights), dict(metadata)
        self.next_step = 0
        self._pending: dict[str, list[Sampled]] = {"train": [], "eval": []}
        self._written_evals: dict[int, int] = {}

    @classmethod
    def of(
        cls,
        args: Any,
        tokenizer: PreTrainedTokenizerBase,
        phases: Phases,
        strategy: Strategy,
        reward_weights: Sequence[float],
    ) -> "TraceCallback":
        """What a `MoTGRPOConfig` asks for."""
        return cls(
            args.output_dir,
            tokenizer,
            steps=args.trace_steps,
            samples=args.trace_samples,
            phases=phases,
            reward_weights=reward_weights,
            metadata={
                "strategy": repr(strategy),
                "mixture_score": args.mixture_score,
                "temperature": args.temperature,
                "max_completion_length": args.max_completion_length,
            },
        )

    def begin(
        self,
        batch: Mapping[str, Tensor],
        *,
        step: int,
        split: str,
        group_size: int,
        rewards: Mapping[str, Sequence[float]],
    ) -> dict[str, Tensor]:
        """Take a sample of a batch that TRL has generated and scored.

        Args:
            batch: What TRL shuffles and splits, the rollout's record included.
            step: Optimizer steps done so far.
            split: `train` or `eval`.
            group_size: Completions of one prompt.
            rewards: What each reward function said of the batch's rows; NaN where it could not judge.

        Returns:
            A column for the batch: the index of each traced row, -1 for the others; nothing if none is traced.
        """
        if split == "train":
            self._write("train")
            if step < self.next_step:
                return {}
            self.next_step = step - step % self.steps + self.steps
        taken = sum(len(sampled.completion_ids) for sampled in self._pending[split])
        rows = len(batch["completion_ids"])
        count = min(self.samples - taken, rows)
        if count < 1:
            return {}
        self._pending[split].append(
            _sample(
                batch,
                count,
                step=step + (split == "train"),
                split=split,
                group_size=group_size,
                first=taken,
                rewards=rewards,
                reward_weights=self.reward_weights,
            )
        )
        index = torch.arange(taken, taken + rows, device=batch["completion_ids"].device)
        index[count:] = -1
        return {TRACE_ROW: index}

    def score(self, inputs: Mapping[str, Tensor], entropies: Float[Tensor, "B C"] | None, *, split: str) -> None:
        """Take the entropies (nats) that the loss computed for a part of the batch; those of its first pass count."""
        pending = self._pending[split]
        if not pending or entropies is None or TRACE_ROW not in inputs:
            return
        entropies, index = entropies.detach().float().cpu(), inputs[TRACE_ROW].tolist()
        for row, trace_row in enumerate(index):
            for sampled in pending:
                at = trace_row - sampled.first
                if 0 <= at < len(sampled.completion_ids) and sampled.entropies[at].isnan().all():
                    length = min(sampled.entropies.size(1), entropies.size(1))
                    sampled.entropies[at, :length] = entropies[row, :length]
        if split == "train" and not any(sampled.entropies.isnan().all(dim=1).any() for sampled in pending):
            self._write("train")

    def on_train_begin(self, args: Any, state: TrainerState, *rest: Any, **kwargs: Any) -> None:
        """Keep to the same steps where a run is resumed."""
        self.next_step = math.ceil(state.global_step / self.steps) * self.steps

    def on_evaluate(self, *args: Any, **kwargs: Any) -> None:
        """Write the evaluation's trace."""
        self._write("eval")

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        """Write what is left."""
        self._write("train")

    def _write(self, split: str) -> None:
        pending, self._pending[split] = self._pending[split], []
        if not pending:
            return
        step = pending[0].step
        name = f"{split}_{step:06d}"
        if split == "eval":
            # An evaluation on several data sets comes several times a step.
            seen = self._written_evals.get(step, 0)
            self._written_evals = {step: seen + 1}
            name += f"_{seen}" if seen else ""
        end_ids = frozenset((self.tokenizer.eos_token_id, self.tokenizer.pad_token_id))
        tables = [to_table(part, self.tokenizer, causes=self.causes, end_ids=end_ids) for part in pending]
        try:
            write_trace(pa.concat_tables(tables), self.folder / f"{name}.parquet", self.metadata)
        except OSError as error:
            logger.warning(f"The trace {name} could not be written, and training goes on without it: {error}")


def _sample(
    batch: Mapping[str, Tensor],
    count: int,
    *,
    step: int,
    split: str,
    group_size: int,
    first: int,
    rewards: Mapping[str, Sequence[float]],
    reward_weights: Sequence[float],
) -> Sampled:
    def cpu(name: str) -> Tensor:
        return batch[name][:count].detach().cpu()

    prompt_ids, prompt_mask = cpu("prompt_ids"), cpu("prompt_mask").bool()
    completion_ids, completion_mask = cpu("completion_ids"), cpu("completion_mask").bool()
    # TRL can mask a completion that was cut short; it fills all columns, and is worth reading.
    completion_mask |= ~completion_mask.any(dim=1, keepdim=True)
    record = Rollout.from_batch(batch).rows(0, count)
    rollout = Rollout(**{name: getattr(record, name).cpu() for name in vars(record)})
    judged = {
        name: [None if value != value else value for value in values[:count]] for name, values in rewards.items()
    }
    return Sampled(
        step=step,
        split=split,
        prompt_ids=[ids[mask].tolist() for ids, mask in zip(prompt_ids, prompt_mask, strict=True)],
        completion_ids=[ids[mask].tolist() for ids, mask in zip(completion_ids, completion_mask, strict=True)],
        rollout=rollout,
        entropies=torch.full(completion_ids.shape, torch.nan),
        rewards=judged,
        reward=[weighted_sum([values[row] for values in judged.values()], reward_weights) for row in range(count)],
        advantages=cpu("advantages").tolist(),
        group_size=group_size,
        first=first,
    )


def own_rows(values: Iterable[float], *, rows: int, processes: int) -> list[float]:
    """The main process's `rows` among the last `processes * rows` values; NaN for any that were not kept."""
    last = list(values)[-rows * processes :]
    return [*([math.nan] * (rows * processes - len(last))), *last][:rows]


def weighted_sum(values: Sequence[float | None], weights: Sequence[float]) -> float | None:
    """The reward as TRL sums it: over the functions that could judge; None if none could."""
    terms = [value * weight for value, weight in zip(values, weights, strict=True) if value is not None]
    return sum(terms) if terms else None
