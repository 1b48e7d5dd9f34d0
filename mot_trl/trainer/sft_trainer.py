"""Supervised fine-tuning on thinking in mixtures, as a subclass of TRL's `SFTTrainer`."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from datasets import Dataset
from trl import SFTTrainer
from trl.data_utils import get_dataset_column_names

from mot_trl.modeling.candidate_head import add_candidate_head
from mot_trl.modeling.rollout import PREFIX, Rollout, UncastRollout
from mot_trl.strategies import build_strategy
from mot_trl.trainer.checks import base_model, check_adapters
from mot_trl.trainer.sft_config import MoTSFTConfig
from mot_trl.trainer.soft_exposure import draw_blends, mark_thinking
from mot_trl.trainer.thoughts import EXPOSED, THOUGHT_IDS, ThoughtCollator, ThoughtTable, insert_thoughts


class MoTSFTTrainer(SFTTrainer):
    """TRL's `SFTTrainer` for models that are to think in mixtures. Two modes; without either it is TRL's.

    Continuous supervised fine-tuning (CSFT; CoT2, arXiv 2505.23648): rows have, beside `prompt` and `completion`, the
    columns `thought_ids`, the candidates of each thinking step, and `thought_weights`, their weights; without
    weights, the candidates of a step weigh the same. The thoughts stand between prompt and completion, so the
    completion begins with the closing tag. At a thought the model is fed the blend of its candidates' embeddings, and
    the loss is the cross-entropy against its weights, which is the KL divergence from them up to a constant. Rows
    with no step are ordinary rows.

    Soft exposure (`args.exposure`): rows are those of any supervised fine-tuning. In training, a share of the thinking
    tokens is fed as a mixture that the strategy draws from the model's own prediction, in a first pass without
    gradient. Labels stay the tokens. Evaluation reads tokens.

    Raises:
        TypeError: `args` is no `MoTSFTConfig`.
        ValueError: A row's thoughts are malformed, or a setting cannot go with mixtures.
    """

    def __init__(self, model: Any, args: MoTSFTConfig | None = None, *trl_args: Any, **trl_kwargs: Any) -> None:
        args = MoTSFTConfig() if args is None else args
        if not isinstance(args, MoTSFTConfig):
            raise TypeError(
                f"`args` must be a `mot_trl.MoTSFTConfig`, which takes all that {type(args).__name__} does."
            )
        # TRL prepares its datasets during construction.
        self._thoughts = ThoughtTable()
        self._vocab_size: int | None = None
        self._strategy = build_strategy(args.decoder.strategy, **args.decoder.strategy_kwargs)
        super().__init__(model, args, *trl_args, **trl_kwargs)
        policy: Any = base_model(self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=True))
        self._vocab_size = policy.get_input_embeddings().weight.size(0)
        self._check_vocabulary()
        if len(self._thoughts) or args.exposure:
            self._check_settings()
        add_candidate_head(policy, self._strategy, share_prompts=False)
        self.data_collator = ThoughtCollator(self.data_collator, self._thoughts)

    def _prepare_dataset(
        self, dataset: Any, processing_class: Any, args: Any, packing: bool, formatting_func: Any, dataset_name: str
    ) -> Any:
        """Let TRL tokenize the rows, put the mixtures into them, and let TRL cut and pack what has come out."""
        has_thoughts = THOUGHT_IDS in get_dataset_column_names(dataset)
        prepare = partial(super()._prepare_dataset, processing_class=processing_class, dataset_name=dataset_name)
        if not (has_thoughts or args.exposure):
            return prepare(dataset, args=args, packing=packing, formatting_func=formatting_func)
        _check_dataset(dataset, args, packing=packing, has_thoughts=has_thoughts)
        whole = copy.copy(args)
        whole.max_length, whole.shuffle_dataset = None, False
        rows = prepare(dataset, args=whole, packing=False, formatting_func=formatting_func)
        if has_thoughts:
            insert = partial(insert_thoughts, ends=self._thoughts.add(dataset))
            rows = rows.map(insert, with_indices=True)
            self._check_vocabulary()
        else:
            phases = args.decoder.build_phases(self._tokenizer)
            rows = rows.map(partial(mark_thinking, phases=phases), batched=True)
            if not any(max(ids) >= EXPOSED for ids in rows["input_ids"]):
                raise ValueError(
                    f"No completion has the text {args.stop_text!r} that ends the thinking, so there is nothing to "
                    "expose; set `stop_text`, or `exposure` to 0."
                )
        # Without the other columns, from which TRL would make labels once more.
        rows = rows.select_columns(["input_ids", "labels"])
        return prepare(rows, args=args, packing=packing, formatting_func=None)

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Compute TRL's loss with blends as inputs, and the thoughts' cross-entropy in the visible tokens' place."""
        policy, config = cast("Any", self.model), cast("Any", self.args)
        exposed = inputs.pop("exposed", None)
        tokens = {name: value for name, value in inputs.items() if not name.startswith(PREFIX)}
        rollout = Rollout.from_batch(inputs) if len(tokens) < len(inputs) else None
        if rollout is None and exposed is not None and policy.training:
            chosen = exposed & (torch.rand(exposed.shape, device=exposed.device) < config.exposure)
            rollout = draw_blends(model, tokens, chosen, self._strategy)
        if rollout is None:
            return super().compute_loss(model, tokens, *args, **kwargs)
        return super().compute_loss(SoftTargetModel(model, rollout), tokens, *args, **kwargs)

    def _check_vocabulary(self) -> None:
        # TRL prepares the datasets given at construction before the model is known to the trainer.
        if self._vocab_size is None or not len(self._thoughts):
            return
        if (largest := int(self._thoughts.candidate_ids.max())) >= self._vocab_size:
            raise ValueError(f"`thought_ids` names token {largest}, and the model has {self._vocab_size} tokens.")

    def _check_settings(self) -> None:
        check_adapters(self.accelerator.unwrap_model(self.model))
        args: Any = self.args
        given = {
            "loss_type": args.loss_type != "nll",
            "label_smoothing_factor": bool(args.label_smoothing_factor),
            "compute_loss_func": self.compute_loss_func is not None,
            "compute_metrics": self.compute_metrics is not None,
        }
        if unfit := [name for name, is_given in given.items() if is_given]:
            raise ValueError(f"`{unfit[0]}` is about single tokens, and a thought is several; leave it out.")


def _check_dataset(dataset: Any, args: MoTSFTConfig, *, packing: bool, has_thoughts: bool) -> None:
    if not isinstance(dataset, Dataset):
        raise ValueError("Rows with mixtures cannot be streamed: load them as a `Dataset`.")
    if has_thoughts and args.exposure:
        raise ValueError(
            f"`exposure={args.exposure}` is for rows that think in tokens, and these have `thought_ids`; set it to 0, "
            "or leave the column out."
        )
    if args.completion_only_loss is False or not {"completion", "labels"} & set(dataset.column_names):
        raise ValueError(
            "Thinking begins where a prompt ends: rows need the columns `prompt` and `completion`, and "
            "`completion_only_loss` must not be False."
        )
    if packing and args.packing_strategy != "bfd":
        raise ValueError(f"`packing_strategy={args.packing_strategy!r}` may cut a row within its thoughts; use 'bfd'.")


class SoftTargetModel:
    """Stand for a model in TRL's loss: feed it the blends, and score each thought by its cross-entropy."""

    def __init__(self, model: Callable[..., Any], rollout: Rollout) -> None:
        self.model, self.rollout = model, rollout

    def __call__(self, **inputs: Any) -> Any:
        """Compute the model's outputs, with `sum_i w_i log p_i` in `log_probs` at the thoughts."""
        rollout = self.rollout
        outputs = self.model(**inputs, rollout=UncastRollout(rollout))
        # With one candidate everywhere, the visible token's log-probability is the cross-entropy already.
        if outputs.candidate_logps is None:
            return outputs
        weights = rollout.log_weights[rollout.thinking_mask].exp()
        # Masked before the product: an unused slot may hold log p = -inf, and 0 * -inf is NaN.
        logps = outputs.candidate_logps.masked_fill(weights == 0, 0.0)
        scores = (weights * logps).sum(dim=-1).to(outputs.log_probs.dtype)
        outputs.log_probs = outputs.log_probs.masked_scatter(rollout.thinking_mask, scores)
        return outputs
