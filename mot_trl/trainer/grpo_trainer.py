"""GRPO with mixtures of tokens: overrides of TRL's trainer, for training, saving and the end."""

import inspect
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from accelerate.utils import gather_object
from datasets import Dataset
from peft.utils import TrainableTokensWrapper
from torch import Tensor
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled
from transformers.utils import logging
from trl import GRPOTrainer
from trl.trainer.utils import get_config_model_id

from mot_trl.generation.config import DecoderConfig, name_of
from mot_trl.generation.custom_generate import write_custom_generate
from mot_trl.generation.decoder import MixtureDecoder
from mot_trl.modeling.candidate_head import add_candidate_head
from mot_trl.modeling.compatibility import check_model
from mot_trl.modeling.cpu_linear import onednn_linears
from mot_trl.modeling.rollout import Rollout, UncastRollout
from mot_trl.strategies import Strategy, build_strategy
from mot_trl.strategies.surrogate import LogProbType, score
from mot_trl.traces.callback import TraceCallback
from mot_trl.traces.completion_column import COLUMN, widest_mixtures
from mot_trl.trainer import model_card
from mot_trl.trainer.blame import named
from mot_trl.trainer.config import MoTGRPOConfig
from mot_trl.trainer.metrics import log_prob_gap, rollout_totals, summarize
from mot_trl.trainer.nan_rows import drop_broken, without_rewards
from mot_trl.trainer.resume import Resuming

logger = logging.get_logger(__name__)


class MoTGRPOTrainer(Resuming, GRPOTrainer):
    """TRL's `GRPOTrainer`, whose model thinks in mixtures of tokens (MoT-G, arXiv 2509.21482).

    Takes every argument of `GRPOTrainer`, and one more. The generation step is a `MixtureDecoder`, and the loss's
    log-probabilities are those of the draws it recorded; rewards, advantages, the loss and all else are TRL's own.

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
        if not isinstance(args, MoTGRPOConfig):
            raise TypeError(
                f"`args` must be a `mot_trl.MoTGRPOConfig`, which takes all that {type(args).__name__} does."
            )
        self.decoder: MixtureDecoder | None = None
        self._rollout: Rollout | None = None
        self._action_logps: Tensor | None = None
        self._entropies: Tensor | None = None
        self._rewards: Tensor | None = None
        self._traces: TraceCallback | None = None
        if args.normal_generation:
            super().__init__(model, reward_funcs, args, *trl_args, **trl_kwargs)
            return
        given = inspect.signature(GRPOTrainer).bind(model, reward_funcs, args, *trl_args, **trl_kwargs).arguments
        _refuse_tokens_from_elsewhere(given)
        _refuse_no_prompts(given.get("train_dataset"))
        if isinstance(model, torch.nn.Module):
            _refuse_encoder_decoder(model)
        super().__init__(model, reward_funcs, args, *trl_args, **trl_kwargs)
        policy: Any = self.model
        _refuse_encoder_decoder(policy)
        _refuse_wrapped_head(_base_model(policy))
        self.strategy = strategy or build_strategy(str(args.strategy), **args.strategy_options)
        self.mixture_score: LogProbType = args.mixture_score or "density"
        vocabulary = policy.config.get_text_config().vocab_size
        if args.mixture_k is not None and args.mixture_k > vocabulary:
            raise ValueError(f"`mixture_k={args.mixture_k}` is beyond the vocabulary of {vocabulary} tokens.")
        phases = args.decoder.build_phases(self._tokenizer)
        self.decoder = MixtureDecoder(self.strategy, phases, self.mixture_score)
        for patched in filter(None, (policy, self.ref_model)):
            add_candidate_head(
                _base_model(self.accelerator.unwrap_model(patched, keep_fp32_wrapper=True)),
                self.strategy,
                temperature=self.temperature,
                cast_lm_head_to_fp32=args.cast_lm_head_to_fp32,
                share_prompts=args.share_prompts,
            )
        # Sharded weights are not here to be asked.
        if policy.device == self.accelerator.device and not (self.is_fsdp_enabled or is_deepspeed_zero3_enabled()):
            with self.accelerator.autocast():
                check_model(_base_model(policy), temperature=self.temperature, router_loss=self.aux_loss_enabled)
        if args.trace_steps:
            self._traces = TraceCallback.of(args, self._tokenizer, phases, self.strategy, self.reward_weights.tolist())
            self.add_callback(self._traces)

    def create_accelerator_and_postprocess(self) -> None:
        """Create it as transformers does; under FSDP2, let log-probabilities leave the model as it computes them.

        accelerate's policy would cast all that layers and model return to the dtype of the weights, bfloat16 say.
        """
        super().create_accelerator_and_postprocess()
        plugin = self.accelerator.state.fsdp_plugin if self.is_fsdp_enabled else None
        if plugin is not None and plugin.fsdp_version == 2 and plugin.mixed_precision_policy is not None:
            plugin.mixed_precision_policy = replace(plugin.mixed_precision_policy, output_dtype=None)

    def training_step(self, model: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Take TRL's step, multiplying as the decoder does; what is compiled is left to the compiler."""
        models: list[Any] = [model, self.ref_model]
        if self.decoder is None or self.args.torch_compile:
            models = []
        with onednn_linears(*filter(None, models)):
            return super().training_step(model, *args, **kwargs)

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
        """Generate as TRL does, with the decoder as transformers' `custom_generate`, and keep its record."""
        if self.decoder is None:
            return super()._generate_single_turn(*args, **kwargs)
        with _bound_generate(_base_model(self.accelerator.unwrap_model(self.model)), self.decoder):
            output = super()._generate_single_turn(*args, **kwargs)
        self._rollout = self.decoder.rollout
        return output

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """Add the record to the batch that TRL shuffles and splits."""
        output = super()._generate_and_score_completions(inputs)
        if self.decoder is None or self._rollout is None:
            return output
        completion_mask = output["completion_mask"]
        rollout = self._rollout.resize(completion_mask.size(1))
        self._rollout = None
        trace_column = self._trace({**output, **rollout.to_batch()})
        output, rollout = drop_broken(output, rollout, pad_token_id=self._tokenizer.pad_token_id)
        completion_mask = output["completion_mask"]
        totals = self.accelerator.reduce(
            rollout_totals(rollout, output["completion_ids"], completion_mask), reduction="sum"
        )
        metrics = summarize(totals)
        for name, value in metrics.items():
            self._metrics[self._mode][name].append(value)
        if self.decoder.phases.can_force:
            # Nobody drew the forced tokens: TRL's mask for tokens that are not the model's own keeps them out.
            output["tool_mask"] = (~rollout.forced_mask).to(completion_mask.dtype)
        if self.decoder.phases.can_force or metrics["mixture/broken_rows"]:
            tokens = (completion_mask * output.get("tool_mask", 1)).sum()
            output["num_items_in_batch"] = self.accelerator.gather(tokens).sum()
        if self.log_completions:
            column: Any = self._logs["extra"][COLUMN]  # ty: ignore[invalid-argument-type]
            column.extend(gather_object(widest_mixtures(rollout, self._tokenizer)))
        return {**output, **rollout.to_batch(), **trace_column}

    def _calculate_rewards(self, *args: Any, **kwargs: Any) -> Tensor:
        """Say which reward function raised, if one does; and leave rows that the model broke down on unjudged."""
        own = self.reward_funcs
        self.reward_funcs = [named(function, name) for function, name in zip(own, self.reward_func_names, strict=True)]
        try:
            rewards = super()._calculate_rewards(*args, **kwargs)
        finally:
            self.reward_funcs = own
        if self._rollout is None:
            return rewards
        broken = self.accelerator.gather(self._rollout.broken.int()).bool()
        if broken.all():
            raise RuntimeError(
                "The model's logits were NaN or infinite for every completion of the batch, so its weights are "
                "probably not finite. Resume from the last checkpoint, with a lower learning rate or in another dtype."
            )
        # Kept for the traces: TRL's log has no room for an evaluation that is larger than a training batch.
        self._rewards = without_rewards(rewards, broken)
        return self._rewards

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        """Score the batch's completions with the mixtures that belong to them."""
        if self.decoder is None:
            return super()._compute_loss(model, inputs)
        self._rollout = Rollout.from_batch(inputs)
        try:
            loss = super()._compute_loss(model, inputs)
        finally:
            rollout, self._rollout = self._rollout, None
        self._log_gap(rollout, inputs)
        if self._traces is not None:
            self._traces.score(inputs, self._entropies, split=self._mode)
        return loss

    def _get_per_token_logps_and_entropies(self, model: Any, *args: Any, **kwargs: Any) -> Any:
        """Replay the rollout's mixtures, and put the log-probability of each draw in the visible token's place."""
        if self._rollout is None:
            return super()._get_per_token_logps_and_entropies(model, *args, **kwargs)
        if model is self.model and not kwargs.get("compute_entropy") and self._replay_is_redundant:
            input_ids, _, logits_to_keep, *_ = args
            return self._rollout.resize(logits_to_keep).logps.to(input_ids.device), None, None
        replay = _Replay(model, self._rollout, self.strategy, self.mixture_score)
        logps, entropies, aux_loss = super()._get_per_token_logps_and_entropies(replay, *args, **kwargs)
        self._action_logps, self._entropies = logps.detach(), entropies
        return logps, entropies, aux_loss

    def _save(self, *args: Any, **kwargs: Any) -> None:
        """Save as TRL does, and the decoder with the weights."""
        super()._save(*args, **kwargs)
        if self.decoder is not None and self.args.should_save:
            self._write_decoder((args[0] if args else kwargs.get("output_dir")) or str(self.args.output_dir))

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write TRL's card, which replaces the one that is there, and the mixtures into it."""
        super().create_model_card(*args, **kwargs)
        if self.decoder is not None and self.is_world_process_zero():
            self._write_card(str(self.args.output_dir))

    def end(self) -> None:
        """Finish as transformers does, and let the process group go without the interpreter's lock (GIL).

        Gloo's threads take the lock to drop a tensor, and are joined when the group goes. Were DDP's reducer the last
        to hold the group, they would be joined under the lock, and now and then a process would never end.
        """
        group = dist.group.WORLD
        super().end()
        self.model_wrapped = self.model
        # The last reference but for DDP's, which is gone: torch drops Python's own without the lock.
        del group

    def _write_decoder(self, folder: str) -> None:
        """Put the decoder beside the weights; a strategy of the user's own has no name that it could be read by."""
        model: Any = self.accelerator.unwrap_model(self.model)
        try:
            write_custom_generate(
                folder,
                self.decoder_config,
                sampling=self.generation_kwargs,
                generation_config=model.generation_config,
            )
        except (OSError, ValueError) as error:
            # The weights are saved by now, and worth more than what is not.
            logger.warning(f"{folder} carries no decoder: {error}")
        self._write_card(folder)

    def _write_card(self, folder: str) -> None:
        try:
            model_card.write(
                Path(folder) / "README.md",
                self.decoder_config,
                path=self.hub_model_id or Path(str(self.args.output_dir)).name,
                dataset=self.train_dataset,
                rewards=self.reward_func_names,
                log_history=self.state.log_history,
                step=self.state.global_step,
            )
        except (OSError, ValueError) as error:
            logger.warning(f"The model card of {folder} says nothing of mixtures: {error}")

    @property
    def decoder_config(self) -> DecoderConfig:
        """What the decoder is made of.

        Raises:
            ValueError: Its strategy is none of the library's.
        """
        args: Any = self.args
        name, options = name_of(self.strategy)
        return args.decoder.override({"strategy": name, "strategy_kwargs": options})

    @property
    def mixtures(self) -> dict[str, Any]:
        """How the model thinks, in plain values. A strategy of the user's own is told by its class."""
        if self.decoder is None:
            return {"normal_generation": True}
        try:
            return self.decoder_config.to_dict()
        except ValueError:
            kind = type(self.strategy)
            return {"strategy": f"{kind.__module__}.{kind.__qualname__}", "mixture_score": self.mixture_score}

    @property
    def _replay_is_redundant(self) -> bool:
        """Whether the old log-probs are those that generation has recorded, up to float32's rounding.

        So in float32, if nothing but the temperature shapes the logits. Under PEFT with a KL term the reference's
        log-probs are asked of the same model, which then needs its pass.
        """
        policy: Any = self.model
        args: Any = self.args
        plain = (args.top_p, args.top_k, args.min_p, args.repetition_penalty) == (1.0, 0, None, 1.0)
        in_float32 = policy.dtype == torch.float32 and self.accelerator.mixed_precision == "no"
        is_reference_too = self.beta != 0.0 and self.ref_model is None
        return plain and in_float32 and not args.generation_kwargs and not is_reference_too

    @property
    def _mode(self) -> str:
        policy: Any = self.model
        return "train" if policy.training else "eval"

    def _trace(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Let the traces take their sample; a column that says where in it each row is."""
        if self._traces is None or self._rewards is None:
            return {}
        group_size = self.num_generations if self._mode == "train" else self.num_generations_eval
        return self._traces.begin(
            batch,
            step=self.state.global_step,
            split=self._mode,
            group_size=group_size or 1,
            rewards=dict(zip(self.reward_func_names, self._rewards.T.tolist(), strict=True)),
        )

    def _log_gap(self, rollout: Rollout, inputs: dict[str, Any]) -> None:
        """How far replay is from generation, before any step on this batch."""
        replayed = inputs.get("old_per_token_logps", self._action_logps)
        gap = log_prob_gap(rollout, replayed, inputs["completion_mask"])
        total, count = self.accelerator.reduce(gap, reduction="sum").tolist()
        self._metrics[self._mode]["mixture/log_prob_gap"].append(total / max(count, 1.0))


class _Replay:
    """Stands for a model in TRL's log-probability function: hands each chunk of rows the rollout they came from."""

    def __init__(
        self, model: Callable[..., Any], rollout: Rollout, strategy: Strategy, mixture_score: LogProbType
    ) -> None:
        self.model, self.rollout, self.strategy, self.mixture_score = model, rollout, strategy, mixture_score
        self.row = 0

    def __call__(self, **inputs: Any) -> Any:
        start, self.row = self.row, self.row + inputs["input_ids"].size(0)
        rollout = self.rollout.rows(start, self.row)
        length = rollout.thinking_mask.size(1)
        # Tokens that TRL masks, as it can do with truncated completions, are not scored.
        rollout = replace(rollout, thinking_mask=rollout.thinking_mask & inputs["attention_mask"][:, -length:].bool())
        outputs = self.model(**inputs, rollout=UncastRollout(rollout))
        if outputs.candidate_logps is None:
            return outputs
        mixtures = rollout.mixtures(inputs["input_ids"][:, -length:])
        scores = score(self.strategy, outputs.candidate_logps, mixtures, how=self.mixture_score)
        before, logps = outputs.log_probs.split([outputs.log_probs.size(1) - length, length], dim=1)
        logps = logps.masked_scatter(rollout.thinking_mask, scores.to(logps.dtype))
        outputs.log_probs = torch.cat([before, logps], dim=1)
        return outputs


def _base_model(model: Any) -> Any:
    """The transformers model inside PEFT's wrapper, if any."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


@contextmanager
def _bound_generate(model: Any, decoder: MixtureDecoder) -> Generator[None]:
    """Let the model's `generate` use the decoder."""
    own_generate, generate = vars(model).get("generate"), model.generate
    # Its method, since FSDP's mixed precision hands on copies of the dataclasses it finds among the arguments.
    model.generate = lambda *args, **kwargs: generate(*args, custom_generate=decoder.__call__, **kwargs)
    try:
        yield
    finally:
        del model.generate
        if own_generate is not None:
            model.generate = own_generate


def _refuse_tokens_from_elsewhere(given: Mapping[str, Any]) -> None:
    for name in ("tools", "environment_factory", "rollout_func"):
        if given.get(name):
            raise ValueError(
                f"`{name}` brings tokens into a completion that no mixture was drawn for; leave it out, or set "
                "`normal_generation=True` to train without mixtures."
            )


def _refuse_no_prompts(rows: Any) -> None:
    if not isinstance(rows, Dataset):
        return
    if not len(rows):
        raise ValueError("`train_dataset` has no rows, so there is nothing to learn from; check how it was filtered.")
    if "prompt" not in rows.column_names:
        raise ValueError(
            f"`train_dataset` needs a column `prompt` (a text, or a list of messages), and has {rows.column_names}; "
            "use `rename_column`."
        )


def _refuse_wrapped_head(model: Any) -> None:
    if isinstance(model.get_output_embeddings(), TrainableTokensWrapper):
        raise ValueError(
            f"The head of {type(model).__name__} is tied to its embeddings, so `trainable_token_indices` trains its "
            'rows too, where TRL\'s loss reads only its weight. Use `modules_to_save=["embed_tokens"]` instead.'
        )


def _refuse_encoder_decoder(model: Any) -> None:
    if model.config.is_encoder_decoder:
        raise ValueError(
            f"{type(model).__name__} is an encoder-decoder model; mixtures need a decoder-only one, such as Qwen or "
            "LLaMA. Set `normal_generation=True` to train without mixtures."
        )
