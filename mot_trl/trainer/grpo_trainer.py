"""GRPO with mixtures of tokens: overrides of TRL's `GRPOTrainer`, each of which calls the method it overrides."""

import inspect
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from accelerate.utils import gather_object
from torch import Tensor
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled
from trl import GRPOTrainer
from trl.trainer.utils import get_config_model_id

from mot_trl.generation.decoder import MixtureDecoder
from mot_trl.modeling.candidate_head import add_candidate_head
from mot_trl.modeling.compatibility import check_model
from mot_trl.modeling.cpu_linear import onednn_linears
from mot_trl.modeling.rollout import Rollout
from mot_trl.strategies import Strategy
from mot_trl.traces.callback import TraceCallback
from mot_trl.traces.completion_column import COLUMN, widest_mixtures
from mot_trl.trainer.checks import base_model, check_arguments, check_config, check_policy
from mot_trl.trainer.config import MoTGRPOConfig
from mot_trl.trainer.metrics import log_prob_gap, rollout_totals, summarize
from mot_trl.trainer.nan_rows import drop_non_finite
from mot_trl.trainer.replay import ReplayModel, RolloutScope, decoding_with
from mot_trl.trainer.resume import ResumableTrainer


class MoTGRPOTrainer(ResumableTrainer, GRPOTrainer):
    """TRL's `GRPOTrainer` for a model that thinks in mixtures of tokens (MoT-G, arXiv 2509.21482).

    Takes every argument of `GRPOTrainer`, and one more. A `MixtureDecoder` generates, and the loss uses the log-probs
    of the draws that it recorded; everything else is TRL's. With `normal_generation=True` it is `GRPOTrainer`.

    Args:
        args: Configuration; by default `MoTGRPOConfig("<model>-GRPO")`.
        strategy: A strategy object of your own, instead of the one that `args` names.

    Raises:
        ValueError: A setting cannot go together with mixtures; the message names it and what to do.
        TypeError: `args` is not a `MoTGRPOConfig`.
    """

    _tag_names = ["trl", "grpo", "mot_trl"]  # noqa: RUF012

    def __init__(
        self,
        model: Any,
        reward_funcs: Any = None,
        args: MoTGRPOConfig | None = None,
        *trl_args: Any,
        strategy: Strategy | None = None,
        **trl_kwargs: Any,
    ) -> None:
        if args is None:
            name = model if isinstance(model, str) else get_config_model_id(model.config)
            args = MoTGRPOConfig(f"{name.split('/')[-1]}-GRPO")
        check_config(args)
        self.decoder: MixtureDecoder | None = None
        self._scope = RolloutScope()
        self._traces: TraceCallback | None = None
        if not args.normal_generation:
            given = inspect.signature(GRPOTrainer).bind(model, reward_funcs, args, *trl_args, **trl_kwargs)
            check_arguments(given.arguments)
        super().__init__(model, reward_funcs, args, *trl_args, **trl_kwargs)
        if not args.normal_generation:
            self._set_up_mixtures(args, strategy)

    def _set_up_mixtures(self, args: MoTGRPOConfig, strategy: Strategy | None) -> None:
        """Build the decoder, give policy and reference model a candidate head, and check that replay is faithful."""
        policy: Any = self.model
        check_policy(policy, mixture_k=args.mixture_k)
        self.decoder = args.decoder.build(self._tokenizer)
        if strategy is not None:
            self.decoder.strategy = strategy
        self.strategy = self.decoder.strategy
        for model in filter(None, (policy, self.ref_model)):
            add_candidate_head(
                base_model(self.accelerator.unwrap_model(model, keep_fp32_wrapper=True)),
                self.strategy,
                temperature=self.temperature,
                cast_lm_head_to_fp32=args.cast_lm_head_to_fp32,
                share_prompts=args.share_prompts,
            )
        # The check runs the model, which sharded weights do not allow outside of a step.
        if policy.device == self.accelerator.device and not (self.is_fsdp_enabled or is_deepspeed_zero3_enabled()):
            with self.accelerator.autocast():
                check_model(base_model(policy), temperature=self.temperature, router_loss=self.aux_loss_enabled)
        if args.trace_steps:
            weights = self.reward_weights.tolist()
            self._traces = TraceCallback(args, self._tokenizer, self.decoder.phases, self.strategy, weights)
            self.add_callback(self._traces)

    def create_accelerator_and_postprocess(self) -> None:
        """Create the accelerator; under FSDP2, keep log-probabilities in the dtype that the model computes them in.

        accelerate's policy would cast all that layers and model return to the dtype of the weights, bfloat16 say.
        """
        super().create_accelerator_and_postprocess()
        plugin = self.accelerator.state.fsdp_plugin if self.is_fsdp_enabled else None
        if plugin is not None and plugin.fsdp_version == 2 and plugin.mixed_precision_policy is not None:
            plugin.mixed_precision_policy = replace(plugin.mixed_precision_policy, output_dtype=None)

    def training_step(self, model: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Take a step with the decoder's matrix products on a CPU; compiled models keep the compiler's."""
        models: list[Any] = [] if self.decoder is None or self.args.torch_compile else [model, self.ref_model]
        with onednn_linears(*filter(None, models)):
            return super().training_step(model, *args, **kwargs)

    @contextmanager
    def _scoped(self, rollout: Rollout | None = None) -> Generator[RolloutScope]:
        """Open a scope for what the overrides share during one call of TRL's."""
        self._scope = RolloutScope(rollout)
        try:
            yield self._scope
        finally:
            self._scope = RolloutScope()

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
        """Generate with the decoder as transformers' `custom_generate`, and keep its record."""
        if self.decoder is None:
            return super()._generate_single_turn(*args, **kwargs)
        with decoding_with(base_model(self.accelerator.unwrap_model(self.model)), self.decoder):
            output = super()._generate_single_turn(*args, **kwargs)
        self._scope.rollout = self.decoder.rollout
        return output

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """Add the record to the batch, which TRL then shuffles, splits and buffers."""
        with self._scoped() as scope:
            batch = super()._generate_and_score_completions(inputs)
        if self.decoder is None or scope.rollout is None:
            return batch
        rollout = scope.rollout.resize(batch["completion_mask"].size(1))
        trace_rows = self._sample_traces({**batch, **rollout.to_batch()}, scope.rewards)
        batch, rollout = drop_non_finite(batch, rollout, pad_token_id=self._tokenizer.pad_token_id)
        metrics = self._log_rollout(batch, rollout)
        if self.decoder.phases.can_force:
            # TRL's mask for tokens that are not the model's own: a forced closing tag was not drawn.
            batch["tool_mask"] = (~rollout.forced_mask).to(batch["completion_mask"].dtype)
        if self.decoder.phases.can_force or metrics["mixture/broken_rows"]:
            # TRL counted the tokens of the loss before these were taken out of it.
            tokens = (batch["completion_mask"] * batch.get("tool_mask", 1)).sum()
            batch["num_items_in_batch"] = self.accelerator.gather(tokens).sum()
        return {**batch, **rollout.to_batch(), **trace_rows}

    def _calculate_rewards(self, *args: Any, **kwargs: Any) -> Tensor:
        """Leave completions with NaN logits without a reward, so that they are not part of their group's baseline.

        Raises:
            RuntimeError: Every completion has NaN logits.
        """
        rewards = super()._calculate_rewards(*args, **kwargs)
        if self._scope.rollout is None:
            return rewards
        non_finite = self.accelerator.gather(self._scope.rollout.non_finite.int()).bool()
        if non_finite.all():
            raise RuntimeError(
                "The model's logits were NaN or infinite for every completion of the batch, so its weights are "
                "probably not finite. Resume from the last checkpoint, with a lower learning rate or in another dtype."
            )
        # Kept for the traces: TRL's log has no room for an evaluation that is larger than a training batch.
        self._scope.rewards = rewards.masked_fill(non_finite.unsqueeze(-1), torch.nan)
        return self._scope.rewards

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        """Compute TRL's loss with the log-probabilities of the draws that the batch records."""
        if self.decoder is None:
            return super()._compute_loss(model, inputs)
        rollout = Rollout.from_batch(inputs)
        with self._scoped(rollout) as scope:
            loss = super()._compute_loss(model, inputs)
        self._log_gap(rollout, inputs.get("old_per_token_logps", scope.logps), inputs["completion_mask"])
        if self._traces is not None:
            self._traces.add_entropies(inputs, scope.entropies, split=self._mode)
        return loss

    def _get_per_token_logps_and_entropies(self, model: Any, *args: Any, **kwargs: Any) -> Any:
        """Replay the record in the model, and put the log-probability of each draw in the visible token's place."""
        scope = self._scope
        if self.decoder is None or scope.rollout is None:
            return super()._get_per_token_logps_and_entropies(model, *args, **kwargs)
        if model is self.model and not kwargs.get("compute_entropy") and self._replay_is_redundant:
            input_ids, _, logits_to_keep, *_ = args
            return scope.rollout.resize(logits_to_keep).logps.to(input_ids.device), None, None
        replay = ReplayModel(model, scope.rollout, self.strategy, self.decoder.mixture_score)
        outputs = super()._get_per_token_logps_and_entropies(replay, *args, **kwargs)
        scope.logps, scope.entropies = outputs[0].detach(), outputs[1]
        return outputs

    @property
    def _replay_is_redundant(self) -> bool:
        """Whether the old log-probs are those that generation recorded, up to float32's rounding.

        True in float32 if nothing but the temperature shapes the logits. Under PEFT with a KL term the reference's
        log-probs are asked of the same model with its adapter off, which needs its own pass.
        """
        policy: Any = self.model
        args: Any = self.args
        plain = (args.top_p, args.top_k, args.min_p, args.repetition_penalty) == (1.0, 0, None, 1.0)
        in_float32 = policy.dtype == torch.float32 and self.accelerator.mixed_precision == "no"
        is_reference_too = self.beta != 0.0 and self.ref_model is None
        return plain and in_float32 and not args.generation_kwargs and not is_reference_too

    def end(self) -> None:
        """Finish, and drop the process group without holding the interpreter's lock (GIL).

        Gloo's threads take the lock to drop a tensor, and are joined when the group goes. Were DDP's reducer the last
        to hold the group, they would be joined under the lock, and a process would occasionally hang at exit.
        """
        group = dist.group.WORLD
        self.accelerator.end_training()  # all of `Trainer.end`, which transformers has only from 5.20 on
        self.model_wrapped = self.model
        # DDP's reference is gone, so this is the last one, and torch drops Python's own without the lock.
        del group

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
        totals = rollout_totals(rollout, batch["completion_ids"], batch["completion_mask"])
        metrics = summarize(totals, reduce=partial(self.accelerator.reduce, reduction="sum"))
        for name, value in metrics.items():
            self._metrics[self._mode][name].append(value)
        if self.log_completions:
            column: Any = self._logs["extra"][COLUMN]  # ty: ignore[invalid-argument-type]
            column.extend(gather_object(widest_mixtures(rollout, self._tokenizer)))
        return metrics

    def _log_gap(self, rollout: Rollout, replayed_logps: Any, completion_mask: Tensor) -> None:
        """Log how far replay is from generation, before any step on this batch."""
        gap = log_prob_gap(rollout, replayed_logps, completion_mask)
        total, count = self.accelerator.reduce(gap, reduction="sum").tolist()
        self._metrics[self._mode]["mixture/log_prob_gap"].append(total / max(count, 1.0))
