"""The record of one draw: a mixture's candidates and weights, and the weighted sum of their embeddings."""

from typing import NamedTuple

from jaxtyping import Bool, Float, Int
from torch import Tensor

# Finite, unlike the -inf of an unused slot; low enough for `exp` to be exactly 0 in float32, which ends at exp(-104).
LOG_ZERO_WEIGHT = -200.0
"""Log-weight of a candidate that could have been drawn and was not: its weight is 0 in float32, its slot is in use."""

LOG_PLAIN_TOKEN = 2 * LOG_ZERO_WEIGHT
"""Log-weight of a slot that repeats the token before it, to say that the token was drawn in place of a mixture."""


class Mixture(NamedTuple):
    """Candidates drawn at `N` positions, with the weights that blend them and the token that stands for them in text.

    Attributes:
        candidate_ids: Tokens of the mixture, valid ids in unused slots too.
        log_weights: Natural logarithms of the weights, float32. `exp` sums to 1 over `K`; `-inf` marks an unused slot,
            `LOG_ZERO_WEIGHT` a candidate that the density knows and the embedding does not.
        visible_ids: The token that text, stop rules and rewards see; always one of the candidates with weight.
    """

    candidate_ids: Int[Tensor, "N K"]
    log_weights: Float[Tensor, "N K"]
    visible_ids: Int[Tensor, " N"]


class MixtureInputs(NamedTuple):
    """Mixtures in the last `T` columns of a batch of ids, fed instead of the tokens where `mixture_mask` is set."""

    candidate_ids: Int[Tensor, "B T K"]
    log_weights: Float[Tensor, "B T K"]
    mixture_mask: Bool[Tensor, "B T"]


def blend(embeddings: Float[Tensor, "N K H"], log_weights: Float[Tensor, "N K"]) -> Float[Tensor, "N H"]:
    """Weighted sum of candidate embeddings, `sum_k exp(log_weights[k]) * embeddings[k]`, added up in float32."""
    # A product and a sum, since autocast would run an einsum in bfloat16.
    return (log_weights.exp().unsqueeze(-1) * embeddings.float()).sum(dim=-2).to(embeddings.dtype)


def is_mixed(log_weights: Float[Tensor, "*N K"]) -> Bool[Tensor, " *N"]:
    """Whether more than one candidate has weight; where not, the blend is one token's embedding."""
    # A lone candidate's log-weight is exactly 0: every strategy normalizes with `log_softmax`.
    return log_weights.amax(dim=-1) < 0
