"""Compute the log-probabilities of recorded candidates beside TRL's fused head, without full logits."""

import functools
import inspect
import types
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from threading import get_ident
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.nn import functional as F
from transformers import GenerationMixin, PretrainedConfig, PreTrainedModel
from trl.trainer.utils import FusedCausalLMOutput, maybe_gather_lm_head_ctx

from mot_trl.modeling.embedding import blend_of, override_embeddings
from mot_trl.modeling.prompt_sharing import TEXT_INPUTS, read_prompts, share, trim
from mot_trl.modeling.rollout import Rollout, UncastRollout
from mot_trl.strategies import Strategy

# Gathered rows take positions * K * H numbers, so that one block at a time bounds the memory, whatever the batch.
POSITIONS_PER_GATHER = 1024

# Config names of the factor that multiplies logits, in the order in which TRL's fused head looks for them.
MULTIPLIERS = ("logit_scale", "output_multiplier", "lm_head_multiplier")


@dataclass(frozen=True)
class LogitTransform:
    """A model's transform of `h @ W + b` before its softmax: scale, soft-cap, divide by the temperature."""

    scale: float
    softcap: float | None
    temperature: float

    @classmethod
    def of(cls, config: PretrainedConfig, temperature: float) -> "LogitTransform":
        """Read it from the model's text config, as TRL's fused head does (`trl.trainer.utils.add_fused_lm_head`)."""
        text_config = config.get_text_config()
        # By attribute and not from `to_dict()`, since MiniCPM3's scaling is a property.
        multipliers = (getattr(text_config, name, None) for name in MULTIPLIERS)
        scale = next((multiplier for multiplier in multipliers if multiplier is not None), None)
        if scale is None:
            # Granite divides by `logits_scaling`; HyperCLOVA X multiplies by it, under the same name.
            scaling = getattr(text_config, "logits_scaling", None) or 1.0
            scale = scaling if text_config.model_type == "hyperclovax" else 1 / scaling
        return cls(scale, getattr(text_config, "final_logit_softcapping", None), temperature)

    def __call__(self, logits: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
        """Transformed logits."""
        logits = logits * self.scale
        if self.softcap is not None:
            logits = self.softcap * torch.tanh(logits / self.softcap)
        return logits / self.temperature


class CandidateLogits(torch.autograd.Function):
    """`hidden[n] . weight[candidate_ids[n, k]] + bias[...]`: `K` dot products a position instead of `V`.

    Products are rounded as in the compute dtype of autocast. Sums are in float32, as in TRL, those over positions too.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Float[Tensor, "N H"],
        weight: Float[Tensor, "V H"],
        bias: Float[Tensor, " V"] | None,
        candidate_ids: Int[Tensor, "N K"],
    ) -> Float[Tensor, "N K"]:
        """Gather the candidates' rows and multiply."""
        # Looked up and kept, since autocast is over when the backward pass runs, whose products must round alike.
        device = hidden.device.type
        ctx.compute_dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        ctx.save_for_backward(hidden, weight, bias, candidate_ids)
        logits = torch.empty(candidate_ids.shape, dtype=torch.float32, device=hidden.device)
        for at in _blocks(len(hidden)):
            states, rows = hidden[at].to(ctx.compute_dtype), weight[candidate_ids[at]].to(ctx.compute_dtype)
            logits[at] = torch.einsum("nh,nkh->nk", states, rows)
        return logits if bias is None else logits + bias[candidate_ids]

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        """Scatter the gradient to the gathered rows, and to the hidden states."""
        (grad_logits,) = grad_outputs
        hidden, weight, bias, candidate_ids = ctx.saved_tensors
        wants_hidden, wants_weight, wants_bias, _ = ctx.needs_input_grad
        # ZeRO-3 has partitioned the head again since the forward pass.
        with maybe_gather_lm_head_ctx(weight, bias):
            grad_hidden = torch.empty_like(hidden) if wants_hidden else None
            grad_weight = torch.zeros_like(weight, dtype=torch.float32) if wants_weight else None
            for at in _blocks(len(hidden)):
                ids, grads = candidate_ids[at], grad_logits[at]
                if grad_hidden is not None:
                    rows = weight[ids].to(ctx.compute_dtype).float()
                    grad_hidden[at] = torch.einsum("nk,nkh->nh", grads, rows).to(hidden.dtype)
                if grad_weight is not None:
                    # Added up and not assigned: a token may be a candidate at many positions.
                    outer = grads.unsqueeze(-1) * hidden[at].float().unsqueeze(1)
                    grad_weight.index_add_(0, ids.flatten(), outer.flatten(0, 1))
            if grad_weight is not None:
                grad_weight = grad_weight.to(weight.dtype)
        grad_bias = torch.zeros_like(bias, dtype=torch.float32) if wants_bias else None
        if grad_bias is not None:
            grad_bias = grad_bias.index_add_(0, candidate_ids.flatten(), grad_logits.flatten()).to(bias.dtype)
        return grad_hidden, grad_weight, grad_bias, None


def _blocks(count: int) -> Iterator[slice]:
    return (slice(start, start + POSITIONS_PER_GATHER) for start in range(0, count, POSITIONS_PER_GATHER))


@dataclass
class MixtureCausalLMOutput(FusedCausalLMOutput):
    """Adds log-probabilities (nats) of the recorded candidates, in the order of `Rollout.mixtures`.

    Where the record has probes, those of the probes are the last column.
    """

    # None where every draw has one candidate, and no probe: `log_probs` has its value.
    candidate_logps: Tensor | None = None


def add_candidate_head(
    model: PreTrainedModel,
    strategy: Strategy,
    *,
    temperature: float = 1.0,
    cast_lm_head_to_fp32: bool = False,
    share_prompts: bool = True,
) -> None:
    """Let `model(..., rollout=rollout, labels=..., fused_lm_head=True)` replay mixtures and score their candidates.

    The forward of TRL's fused head, which must have been added before, runs unchanged on embeddings that hold the
    rollout's mixtures. It gives `log p_y` of the visible token y, from which those of the candidates j follow:
    `log p_j = z_j - z_y + log p_y`, where z are logits. So `K` rows of the head suffice for each position, and no
    (B, C, V) tensor is made.

    Args:
        temperature: Temperature the logits are divided by, the same as the fused head's.
        cast_lm_head_to_fp32: Whether the head runs in float32 outside autocast, the same as the fused head's.
        share_prompts: Whether prompts that a batch repeats are read once, and columns of padding not at all.

    Raises:
        RuntimeError: From the model's forward, if it did not look its tokens up in its embedding module.
    """
    fused_forward: Any = model.forward
    own_forward = _unbound(inspect.getclosurevars(fused_forward.__func__).nonlocals["original_forward"], model)
    transform = LogitTransform.of(model.config, temperature)
    # `generate` gives most models one position per token; vision-language models count their own.
    kind: Any = type(model)
    usual = kind._prepare_position_ids_for_generation is GenerationMixin._prepare_position_ids_for_generation
    numbers_positions = usual and "position_ids" in inspect.signature(kind.forward).parameters
    if model.base_model is model and isinstance(model._modules.get("model"), PreTrainedModel):
        # Llama 4's text model names a backbone that it lacks, and TRL looks the backbone up by that name.
        model.base_model_prefix = "model"

    # Patched on the instance, as TRL's own head is, so that adapters and FSDP wrap both. Without a rollout, as in
    # generation, nothing changes. `wraps` keeps the signature, against which `generate` validates its model kwargs.
    # Of the model, only `self` is used: a copy of the model has the same function, and its own weights.
    @functools.wraps(fused_forward)
    def forward(self: Any, *args: Any, rollout: Rollout | UncastRollout | None = None, **kwargs: Any) -> Any:
        fused = fused_forward.__func__
        if rollout is None:
            # TRL's would call the forward of the very model that it was added to.
            return (fused if kwargs.get("fused_lm_head") else own_forward)(self, *args, **kwargs)
        if isinstance(rollout, UncastRollout):
            rollout = rollout.rollout
        # TRL pads completions to the longest of the whole batch; a micro-batch of it may need fewer columns. Results
        # are padded back to `length` in the end, since TRL has masks of that length.
        length = rollout.thinking_mask.size(1)
        sharing = share_prompts and set(kwargs) == TEXT_INPUTS
        if sharing:
            kwargs, trimmed = trim(kwargs, length)
            rollout = rollout.resize(trimmed)
        hidden_states: list[Tensor] = []  # the backbone's output, which TRL's fused forward does not return
        with (
            override_embeddings(self, blend_of(strategy)) as override,
            self.base_model.register_forward_hook(_keep_in(hidden_states)),
        ):
            shared = share(self, kwargs, rollout.thinking_mask.size(1)) if sharing else None
            if numbers_positions and shared is None and "input_ids" in kwargs and kwargs.get("position_ids") is None:
                # Learned positions differ behind padding on the left, so count without it, as `generate` did.
                kwargs["position_ids"] = self._prepare_position_ids_for_generation(kwargs["input_ids"], kwargs)
            with nullcontext(kwargs) if shared is None else read_prompts(self, shared, kwargs) as inputs:
                override.inputs = rollout.inputs
                outputs = fused(self, *args, **inputs)
        if not override.calls:
            raise RuntimeError(
                f"{type(self).__name__} did not look the prompt and completion up in its embedding module, so its "
                "mixtures were not replayed. Prompt-learning adapters embed outside the model: use LoRA instead."
            )
        head = _Head(self.get_output_embeddings(), transform, cast_lm_head_to_fp32)
        input_ids, home = inputs["input_ids"], outputs.log_probs.device
        # A model that is spread over devices ends on another than that of its inputs.
        found = (hidden_states[-1].to(home), outputs.log_probs, input_ids.to(home), rollout.to(home))
        outputs = MixtureCausalLMOutput(**outputs, candidate_logps=head.candidate_logps(*found))
        spare = length - rollout.thinking_mask.size(1)
        for name, value in outputs.items():
            is_per_token = value.dim() == 2 and name != "candidate_logps"
            outputs[name] = (F.pad(value, (0, spare)) if is_per_token else value).to(input_ids.device)
        return outputs

    model.forward = types.MethodType(forward, model)


def _unbound(forward: Any, model: Any) -> Callable[..., Any]:
    """A forward that is bound to a model, for copies of the model as well."""
    # Hooks of accelerate, which spread a model over devices, bind it by `partial`.
    is_partial = isinstance(forward, functools.partial) and forward.args == (model,)
    return forward.func if is_partial else forward.__func__


def _keep_in(hidden_states: list[Tensor]) -> Callable[..., None]:
    """A hook that keeps a backbone's outputs, but those of calls in other threads."""
    thread = get_ident()

    def hook(*call: Any) -> None:
        if get_ident() == thread:
            hidden_states.append(call[-1].last_hidden_state)

    return hook


class _Head(NamedTuple):
    """A model's head, and the transform of its logits."""

    module: Any
    transform: LogitTransform
    in_float32: bool

    def candidate_logps(
        self,
        hidden_states: Float[Tensor, "B T H"],
        log_probs: Float[Tensor, "B T-1"],
        input_ids: Int[Tensor, "B T"],
        rollout: Rollout,
    ) -> Float[Tensor, "N K"] | None:
        """Log-probabilities of the candidates at the thinking positions, from those of the visible tokens."""
        if rollout.num_candidates == 1 and rollout.probe_ids is None:
            return None
        thinking_mask, length = rollout.thinking_mask, rollout.thinking_mask.size(1)
        # The hidden state one position earlier predicts a token; TRL's log-probs are shifted so already.
        hidden = hidden_states[:, -length - 1 : -1][thinking_mask]
        hidden = hidden.float() if self.in_float32 else hidden
        candidate_ids, _, visible_ids = rollout.mixtures(input_ids[:, -length:])
        if rollout.probe_ids is not None:
            probes = rollout.probe_ids[thinking_mask].unsqueeze(-1)
            candidate_ids = torch.cat([candidate_ids, probes.to(candidate_ids.dtype)], dim=-1)
        weight, bias = self.module.weight, self.module.bias
        # FSDP2 leaves the head sharded when it is not called as a module; ZeRO-3 is handled by TRL's context below.
        if isinstance(weight, DTensor):
            weight, bias = weight.full_tensor(), (None if bias is None else bias.full_tensor())
        autocast = torch.autocast(hidden.device.type, enabled=False) if self.in_float32 else nullcontext()
        with autocast, maybe_gather_lm_head_ctx(weight, bias):  # ty: ignore[invalid-argument-type]
            logits = CandidateLogits.apply(hidden.to(weight.device), weight, bias, candidate_ids)
        logits = self.transform(logits)
        # log p_j = z_j - z_y + log p_y: the normalizer of the softmax cancels between candidate and visible token.
        visible = (candidate_ids == visible_ids.unsqueeze(-1)).int().argmax(dim=-1, keepdim=True)
        return logits - logits.gather(-1, visible) + log_probs[:, -length:][thinking_mask].unsqueeze(-1)
