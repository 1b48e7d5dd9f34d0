"""Which tokens a mixture may hold: the most likely ones, and p renormalized on them."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mot_trl.strategies.mixture import Mixture


class Support(NamedTuple):
    """Tokens that a draw may use.

    Attributes:
        candidate_ids: The most likely tokens, in descending order of probability.
        log_q: Logarithm of p renormalized on the support (q), float32; `-inf` outside of it.
    """

    candidate_ids: Int[Tensor, "N K"]
    log_q: Float[Tensor, "N K"]


def top_candidates(
    logps: Float[Tensor, "N V"], *, k: int, min_prob: float = 0.0, nucleus: float = 1.0, adaptive: bool = False
) -> Support:
    """Take the `k` most likely tokens of each row (all, if there are fewer), less those that a floor leaves out.

    Args:
        logps: Log-probabilities; `-inf` marks a token that must not be drawn.
        k: Most candidates per row.
        min_prob: Leaves out candidates whose share of the candidates' mass is smaller. The most likely always stays.
        nucleus: Leaves out candidates that are not needed to reach this mass of the whole distribution.
        adaptive: Leaves out those beyond the number of tokens that the distribution has in effect.
    """
    candidate_logps, candidate_ids = logps.topk(min(k, logps.shape[-1]), dim=-1)
    # Renormalizing in bfloat16 would round the weights to two or three digits, and the density of the draw with them.
    candidate_logps = candidate_logps.float()
    if adaptive:
        candidate_logps = candidate_logps.masked_fill(~in_effect(logps, candidate_ids.shape[-1]), -torch.inf)
    if nucleus < 1:
        probs = candidate_logps.exp()
        # A token belongs to the nucleus if the tokens before it do not reach the mass yet; so the first always does.
        candidate_logps = candidate_logps.masked_fill(probs.cumsum(dim=-1) - probs >= nucleus, -torch.inf)
    log_q = candidate_logps.log_softmax(dim=-1)
    if min_prob > 0:
        small = log_q.exp() < min_prob
        # Above 1/k the floor could leave out every candidate.
        small[..., 0] = False
        log_q = log_q.masked_fill(small, -torch.inf).log_softmax(dim=-1)
    return Support(candidate_ids, log_q)


def entropy(logps: Float[Tensor, "*N V"]) -> Float[Tensor, "*N"]:
    """Entropy of each row's distribution (nats), float32; tokens of probability 0 add 0."""
    return torch.special.entr(logps.float().exp()).sum(dim=-1)


def in_effect(logps: Float[Tensor, "N V"], slots: int) -> Bool[Tensor, "N K"]:
    """Which of `slots` an adaptive draw may use: as many as the distribution has tokens in effect, and one at least.

    The exponential of the entropy, rounded: n for a uniform distribution over n tokens. It is constant almost
    everywhere, as the set of the most likely tokens is; so a draw that is scored given its slots is scored exactly.
    """
    return torch.arange(slots, device=logps.device) < entropy(logps).exp().round().clamp_min(1).unsqueeze(-1)


def in_support(mixture: Mixture) -> Bool[Tensor, "N K"]:
    """Slots in use: whatever the draw could have taken, with weight or without."""
    return mixture.log_weights > -torch.inf


def renormalize(candidate_logps: Float[Tensor, "N K"], used: Bool[Tensor, "N K"]) -> Float[Tensor, "N K"]:
    """Logarithm of p renormalized on the `used` slots, float32; 0, without gradient, in the others."""
    log_q = candidate_logps.float().masked_fill(~used, -torch.inf).log_softmax(dim=-1)
    # Left at -inf, unused slots would multiply a zero gradient to NaN in whatever is computed from them.
    return log_q.masked_fill(~used, 0.0)
