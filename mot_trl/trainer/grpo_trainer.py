"""GRPO with mixtures of tokens: overrides of TRL's `GRPOTrainer`, each of which calls the method it overrides."""

import inspect
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled
from trl import GRPOTrainer
from trl.trainer.utils import get_config_model_id

from mot_trl.generation.decoder import MixtureDecoder
from mot_trl.modeling.candidate_head import add_candidate_head
from mot_trl.modeling.compatibility import check_model
from mot_trl.modeling.cpu_linear import onednn_linears
from mot_trl.modeling.distributed import input_device
from mot_trl.modeling.dropout import has_dropout
from mot_trl.modeling.patching import keeping_weights
from mot_trl.modeling.rollout import Rollout
from mot_trl.strategies import Strategy, check_strategy
from mot_trl.strategies.one_token import OneToken
from mot_trl.traces.callback import TraceCallback
from mot_trl.trainer.checks import base_model, check_arguments, check_config, check_images, check_policy
from mot_trl.trainer.config import MoTGRPOConfig
from mot_trl.trainer.continuous_rollouts import ContinuousTrainer
from mot_trl.trainer.engine_checks import check_own_generation, check_own_strategy
from mot_trl.trainer.kl import add_probe_logps, estimate_on_probes
from mot_trl.trainer.nan_rows import drop_non_finite
from mot_trl.trainer.replay import ReplayModel, RolloutScope, decoding_with
from mot_trl.trainer.reports import GENERATED_AT, ReportingTrainer
from mot_trl.trainer.resume import ResumableTrainer
from mot_trl.trainer.rollout_func import recording
from mot_trl.trainer.stall_watch import StallWatch
from mot_trl.trainer.tool_turns import ToolTurnsTrainer
from mot_trl.trainer.vllm_rollouts import VLLMTrainer


class MoTGRPOTrainer(ReportingTrainer, ResumableTrainer, ToolTurnsTrainer, ContinuousTrainer, VLLMTrainer):
    """TRL's `GRPOTrainer` for a model that thinks in mixtures of tokens (MoT-G, arXiv 2509.21482).

    Takes every argument of `GRPOTrainer`, and one more. A `MixtureDecoder` generates, and the loss uses the log-probs
    of the draws that it recorded; everything else is TRL's. With `normal_generation=True` it is `GRPOTrainer`.

    Args:
        args: Configuration; by default `MoTGRPOConfig("<model>-GRPO")`.
        strategy: A strategy object of your own, instead of the one that `args` names.

    Raises:
        ValueError: A setting cannot go together with mixtures; the message names it and what to do.
        TypeError: `args` is not a `MoTGRPOConfig`, or `strategy` no strategy.
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
        self.strategy: Strategy = OneToken()
        self._scope = RolloutScope()
        if strategy is not None:
            check_strategy(strategy)
        if not args.normal_generation:
            given = inspect.signature(GRPOTrainer).bind(model, reward_funcs, args, *trl_args, **trl_kwargs)
            check_arguments(given.arguments)
            if strategy is not None:
                check_own_strategy(args)
        super().__init__(model, reward_funcs, args, *trl_args, **trl_kwargs)
        check_images(self.train_dataset, self.processing_class)
        self.add_callback(StallWatch())
        if not args.normal_generation:
            self._set_up_mixtures(args, strategy)

    def _set_up_mixtures(self, args: MoTGRPOConfig, strategy: Strategy | None) -> None:
        """Build the decoder, give policy and reference model a candidate head, and check that replay is faithful."""
        policy: Any = self.model
        check_policy(policy, mixture_k=args.mixture_k)
        if not self.use_vllm:
            check_own_generation(base_model(policy).generation_config, self.generation_kwargs)
        self.decoder = args.decoder.build(self._tokenizer)
        if args.max_completion_length is not None:
            self.decoder.phases.check_room(args.max_completion_length)
        if strategy is not None:
            self.decoder.strategy = strategy
        self.strategy = self.decoder.strategy
        # An ordinary token is itself a draw from p.
        self.decoder.draws_probes = self.beta != 0.0 and self.strategy != OneToken()
        if self.rollout_func is not None:
            keep = lambda record, ids: self._scope.keep(record.to(self.accelerator.device), ids)  # noqa: E731
            self.rollout_func = recording(self.rollout_func, keep, probes=self.decoder.draws_probes)
        for model in filter(None, (policy, self.ref_model)):
            add_candidate_head(
                base_model(self.accelerator.unwrap_model(model, keep_fp32_wrapper=True)),
                self.strategy,
                temperature=self.temperature,
                cast_lm_head_to_fp32=args.cast_lm_head_to_fp32,
                share_prompts=args.share_prompts,
            )
        # The check runs the model, which sharded weights do not allow outside of a step. Kinds of device are compared,
        # since `cuda` is the same as `cuda:0`, and a model may be spread over several.
        is_placed = input_device(base_model(policy)).type == self.accelerator.device.type
        if is_placed and not (self.is_fsdp_enabled or is_deepspeed_zero3_enabled()):
            with self.accelerator.autocast():
                check_model(base_model(policy), temperature=self.temperature, router_loss=self.aux_loss_enabled)
        self._watch_ratios(self.strategy)
        if args.trace_steps:
            weights, end_ids = self.reward_weights.tolist(), [*self.eos_token_ids, self._tokenizer.pad_token_id]
            self._traces = TraceCallback(args, self._tokenizer, self.decoder.phases, self.strategy, weights, end_ids)
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

    def prediction_step(self, model: Any, *args: Any, **kwargs: Any) -> Any:
        """Evaluate a batch, and leave quantized weights as training needs them."""
        with nullcontext() if self.decoder is None else keeping_weights(model):
            return super().prediction_step(model, *args, **kwargs)

    @contextmanager
    def _scoped(self, scope: RolloutScope) -> Generator[RolloutScope]:
        """Open a scope for what the overrides share during one call of TRL's."""
        self._scope = scope
        try:
            yield self._scope
        finally:
            self._scope = RolloutScope()

    def _generate_single_turn(self, prompt_ids: Any, *args: Any, **kwargs: Any) -> Any:
        """Generate with the decoder as transformers' `custom_generate`, and keep its record."""
        if self.decoder is None:
            return super()._generate_single_turn(prompt_ids, *args, **kwargs)
        rows, history = self._continued(prompt_ids)
        # Whatever generates must leave a new record: the last batch's would train on other mixtures.
        self.decoder.forget()
        self._engine_record = None
        with decoding_with(base_model(self.accelerator.unwrap_model(self.model)), self.decoder, history):
            output = super()._generate_single_turn(prompt_ids, *args, **kwargs)
        self._scope.keep(self._engine_record or self.decoder.rollout_of(output[0]), output[0], rows)
        return output

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """Add the record to the batch, which TRL then shuffles, splits and buffers."""
        with self._scoped(RolloutScope()) as scope:
            batch = super()._generate_and_score_completions(inputs)
        if self.decoder is None or scope.rollout is None:
            return batch
        rollout = scope.rollout.resize(batch["completion_ids"].size(1))
        trace_rows = self._sample_traces({**batch, **rollout.to_batch()}, scope.rewards)
        batch = add_probe_logps(batch, scope.probe_logps)
        batch, rollout = drop_non_finite(batch, rollout, pad_token_id=self._tokenizer.pad_token_id)
        metrics = self._log_rollout(batch, rollout)
        if self.decoder.phases.can_force:
            # TRL's mask for tokens that are not the model's own: a forced closing tag was not drawn.
            batch["tool_mask"] = batch.get("tool_mask", 1) * (~rollout.forced_mask).to(batch["completion_mask"].dtype)
        if self.decoder.phases.can_force or metrics["mixture/broken_rows"]:
            # TRL counted the tokens of the loss before these were taken out of it.
            tokens = (batch["completion_mask"] * batch.get("tool_mask", 1)).sum()
            batch["num_items_in_batch"] = self.accelerator.gather(tokens).sum()
        batch[GENERATED_AT] = torch.tensor(self.state.global_step)
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
        with self._scoped(RolloutScope(Rollout.from_batch(inputs), batch=dict(inputs))) as scope:
            loss = super()._compute_loss(model, scope.batch)
        self._log_replay(scope.logps, inputs)
        if self._traces is not None:
            self._traces.add_entropies(inputs, scope.entropies, split=self._mode)
        return loss

    def _get_per_token_logps_and_entropies(self, model: Any, *args: Any, **kwargs: Any) -> Any:
        """Replay the record in the model, and put the log-probability of each draw in the visible token's place."""
        scope = self._scope
        if self.decoder is None or scope.rollout is None:
            return super()._get_per_token_logps_and_entropies(model, *args, **kwargs)
        input_ids, _, logits_to_keep, *_ = args
        # TRL pads completions after generation, so each call says how many columns it asks for.
        rollout = scope.rollout.resize(logits_to_keep)
        if model is self.model and not kwargs.get("compute_entropy") and self._replay_is_redundant:
            scope.probe_logps += [] if rollout.probe_logps is None else [rollout.probe_logps]
            return rollout.logps.to(input_ids.device), None, None
        replay = ReplayModel(model, rollout, self.strategy, self.decoder.mixture_score)
        outputs = super()._get_per_token_logps_and_entropies(replay, *args, **kwargs)
        scope.logps, scope.entropies = outputs[0].detach(), outputs[1]
        if replay.probe_logps:
            scope.probe_logps.append(torch.cat(replay.probe_logps))
            config: Any = self.args
            weighted = config.use_bias_correction_kl and self.importance_sampling_level == "token"
            # TRL reads the reference after this call, so it may still be changed.
            logps = outputs[0], scope.probe_logps[-1]
            scope.batch.update(estimate_on_probes(scope.batch, *logps, rollout.thinking_mask, weighted=weighted))
        return outputs

    @property
    def _replay_is_redundant(self) -> bool:
        """Whether the old log-probs are those that generation recorded, up to float32's rounding.

        True in float32 if the loss's temperature alone shaped the logits, and a second pass gives the same. Under PEFT
        with a KL term the reference's log-probs are asked of the same model with its adapter off: another pass.
        """
        policy: Any = self.model
        in_float32 = policy.dtype == torch.float32 and self.accelerator.mixed_precision == "no"
        is_reference_too = self.beta != 0.0 and self.ref_model is None
        # A function of the user's own may shape logits in its own way.
        ours = self.decoder is not None and self.rollout_func is None
        plain = ours and self.decoder.temperature == self.temperature
        return plain and in_float32 and not is_reference_too and not has_dropout(policy)

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
