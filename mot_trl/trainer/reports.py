"""What the trainer logs of rollouts and of their replay in the loss, and the completions that it traces."""

from functools import partial
from typing import TYPE_CHECKING, Any

from accelerate.utils import gather_object
from torch import Tensor

from mot_trl.modeling.rollout import Rollout
from mot_trl.strategies import Strategy
from mot_trl.strategies.one_token import OneToken
from mot_trl.traces.callback import TraceCallback
from mot_trl.traces.completion_column import COLUMN, widest_mixtures
from mot_trl.trainer.metrics import log_prob_gap, rollout_totals, summarize, summarize_turns
from mot_trl.trainer.ratios import CLIPPED_LOSSES, RatioWatch

if TYPE_CHECKING:
    from trl import GRPOTrainer as Trainer
else:
    Trainer = object

# Batch key: steps of the optimizer before the batch was generated.
GENERATED_AT = "generated_at"


class ReportingTrainer(Trainer):
    """The part of `MoTGRPOTrainer` that reports: metrics in TRL's log, and traces."""

    _traces: TraceCallback | None = None
    _ratios: RatioWatch | None = None

    @property
    def _mode(self) -> str:
        return "train" if self.model.training else "eval"  # ty: ignore[missing-union-attribute]

    def _sample_traces(self, batch: dict[str, Any], rewards: Tensor | None) -> dict[str, Tensor]:
        """Sample completions for the traces; the column that numbers their rows, if this step is traced."""
        if self._traces is None or rewards is None:
            return {}
        size = (self.num_generations if self._mode == "train" else self.num_generations_eval) or 1
        named = dict(zip(self.reward_func_names, rewards.T.tolist(), strict=True))
        step = self.state.global_step
        return self._traces.add_completions(batch, step=step, split=self._mode, group_size=size, rewards=named)

    def _log_rollout(self, batch: dict[str, Any], rollout: Rollout) -> dict[str, float]:
        """Log the metrics of a batch of rollouts over all processes, and the mixtures of its completions."""
        totals = rollout_totals(rollout, batch["completion_ids"])
        reduce = partial(self.accelerator.reduce, reduction="sum")
        metrics = summarize(totals, reduce=reduce) | summarize_turns(rollout, reduce=reduce)
        for name, value in metrics.items():
            self._metrics[self._mode][name].append(value)
        if self.log_completions:
            column: Any = self._logs["extra"][COLUMN]  # ty: ignore[invalid-argument-type]
            column.extend(gather_object(widest_mixtures(rollout, self._tokenizer)))
        return metrics

    def _log_replay(self, replayed_logps: Tensor | None, inputs: dict[str, Any]) -> None:
        """Log how far the loss's replay is from generation, and once a step was taken, watch its ratios instead."""
        if replayed_logps is None:
            return
        rollout = Rollout.from_batch(inputs)
        # What the model drew itself: no padding, forced tags or results of tools.
        drawn = (inputs["completion_mask"] * inputs.get("tool_mask", 1)).bool() & ~rollout.forced_mask
        if inputs.get(GENERATED_AT) == self.state.global_step:
            gap = log_prob_gap(rollout, replayed_logps, drawn)
            total, count = self.accelerator.reduce(gap, reduction="sum").tolist()
            self._metrics[self._mode]["mixture/log_prob_gap"].append(total / max(count, 1.0))
        elif self._ratios is not None and "old_per_token_logps" in inputs:
            log_ratios = replayed_logps - inputs["old_per_token_logps"]
            self._ratios.add(log_ratios, drawn & rollout.thinking_mask, drawn & ~rollout.thinking_mask)

    def _watch_ratios(self, strategy: Strategy) -> None:
        """Begin to watch the ratios, if TRL's loss leaves them unbounded and they are of more than one token."""
        args: Any = self.args
        unbounded = self.loss_type in CLIPPED_LOSSES and self.importance_sampling_level == "token" and not args.delta
        if unbounded and not isinstance(strategy, OneToken):
            clip = 1 - self.epsilon_low, 1 + self.epsilon_high
            self._ratios = RatioWatch(strategy, clip, warns=self.accelerator.is_main_process)
