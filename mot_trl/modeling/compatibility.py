"""Check that a model's log-probabilities in training are those it generates by."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

from mot_trl.modeling.distributed import input_device
from mot_trl.modeling.patching import evaluating, keeping_weights
from mot_trl.modeling.rollout import Rollout

# In nats: far above the rounding of bfloat16, far below the error of a wrong head.
LARGE_GAP = 0.5
TOKENS, PADDING = 8, 3

UNSUPPORTED = {
    "inkling_mm_model": "divides its logits by a width that TRL's fused head does not know",
    "inkling_text": "divides its logits by a width that TRL's fused head does not know",
    "minimax": "reads padding as text when it generates from its cache",
    "recurrent_gemma": "caps its logits under a name that TRL's fused head does not know",
    "rwkv": "reads padding as text",
    "xlstm": "caps its logits under a name that TRL's fused head does not know",
}
"""Model types that fail with TRL 1.16 where a few tokens do not show it, and why; `check_model` tries all others."""


@torch.no_grad()
def check_model(model: PreTrainedModel, *, temperature: float, router_loss: bool = False) -> None:
    """Raise for a model whose log-probabilities in training are not those it generates by.

    TRL's fused head multiplies the backbone's last hidden state by the output embeddings, with the scalings it knows,
    and rollouts are padded. Both are tried on eight tokens, in four forward passes.

    Args:
        model: A model with TRL's fused head and the candidate head, its weights gathered.
        router_loss: Whether training adds the load-balancing loss of a mixture of experts.

    Raises:
        ValueError: The model cannot be trained; the message says why.
    """
    name = type(model).__name__
    if reason := UNSUPPORTED.get(model.config.model_type):
        raise ValueError(f"{name} {reason}, so its log-probabilities would be wrong; docs/models.md lists what works.")
    if model.base_model is model or model.get_output_embeddings() is None:
        raise ValueError(
            f"{name} has no backbone and head that TRL's fused head could call, so it cannot be trained; "
            "load the text model of its family, if it has one."
        )
    config = model.config.get_text_config()
    if config is not model.config:
        return  # a vision-language model's forward ends in the same fused head as its text model's
    # Spread over the vocabulary, away from the special tokens at its ends.
    ids = torch.arange(1, TOKENS + 1, device=input_device(model)).unsqueeze(0) * (config.vocab_size // (TOKENS + 2))
    # Evaluation mode turns off dropout and router noise. A model that was just loaded is in it already.
    with evaluating(model), keeping_weights(model):
        if router_loss:
            try:
                model(input_ids=ids, labels=ids, fused_lm_head=True, output_router_logits=True)
            except (AttributeError, IndexError, TypeError) as error:
                raise ValueError(
                    f"TRL's load-balancing loss does not fit the routers of {name}; "
                    "set `router_aux_loss_coef=0.0` to train without it."
                ) from error
        own = _logps(model(input_ids=ids, use_cache=False).logits, ids, temperature)
        # A causal model gives the first half of the tokens the same log-probs when it does not see the second.
        half = ids[:, : TOKENS // 2]
        if _gap(_logps(model(input_ids=half, use_cache=False).logits, half, temperature), own) > LARGE_GAP:
            raise ValueError(f"{name} reads ahead of the token it predicts, so it cannot generate; load a decoder.")
        fused = _fused_logps(model, ids)
        if _gap(fused, own) > LARGE_GAP:
            raise ValueError(
                f"{name} does more to its logits than TRL's fused head, so the loss would train on other "
                "log-probabilities than the model's own."
            )
        # Rollouts pad prompts on the left, so a model must give the same log-probs behind padding.
        if _gap(_fused_logps(model, ids, padding=PADDING), fused) > LARGE_GAP:
            raise ValueError(
                f"{name} reads padding as text, so prompts of different lengths would disturb each other."
            )


def _logps(logits: Float[Tensor, "B S V"], ids: Int[Tensor, "B S"], temperature: float) -> Float[Tensor, "B T"]:
    """Log-probability of each token but the first."""
    logps = (logits[:, :-1].float() / temperature).log_softmax(dim=-1)
    return logps.gather(-1, ids[:, 1:].unsqueeze(-1)).squeeze(-1)


def _fused_logps(model: PreTrainedModel, ids: Int[Tensor, "B S"], padding: int = 0) -> Float[Tensor, "B T"]:
    """The same from the fused head, after `padding` padding tokens, replaying a record without mixtures."""
    mask = F.pad(torch.ones_like(ids), (padding, 0))
    # Together with a longer row, since columns that are padding in every row are dropped before the model sees them.
    longer = torch.cat([ids[:, :padding], ids], dim=1)
    rows, masks = torch.cat([longer * mask, longer]), torch.cat([mask, torch.ones_like(mask)])
    rollout = Rollout.empty(len(rows), ids.size(1) - 1, num_candidates=1, device=ids.device)
    labels = rows.masked_fill(masks == 0, -100)
    outputs = model(input_ids=rows, attention_mask=masks, labels=labels, rollout=rollout, fused_lm_head=True)
    return outputs.log_probs[:1, 1 - ids.size(1) :]


def _gap(logps: Float[Tensor, "B S"], others: Float[Tensor, "B T"]) -> float:
    """The median distance, since rounding may send a token to another expert and change that token alone."""
    return (logps - others[:, : logps.size(1)]).abs().median().item()
