"""The log-probability of a mixture used in the loss: its density, or one of the published surrogates."""

from typing import Literal, get_args

from jaxtyping import Float
from torch import Tensor

from mot_trl.strategies.base import Strategy, VisibleStrategy
from mot_trl.strategies.mixture import Mixture
from mot_trl.strategies.support import renormalize

LogProbType = Literal["density", "expected", "visible"]


def surrogate(
    strategy: Strategy,
    candidate_logps: Float[Tensor, "N K"],
    mixture: Mixture,
    *,
    log_prob_type: LogProbType = "density",
) -> Float[Tensor, " N"]:
    """Log-probability (nats) of each mixture in the loss's ratio; the config's `mixture_score` picks the type.

    - `density`: the strategy's own `log_prob`. Unbiased where `strategy.exact`.
    - `expected`: `sum_i q_i log p_i` over the candidates with weight; q, p renormalized on them, is held constant.
      MoT-G's "loss on all tokens" (arXiv 2509.21482), and no likelihood. Where the candidates are the most likely
      tokens it does not depend on what was drawn: a good reward merely gathers p on them, and group-relative
      advantages, whose sum is 0, cancel at a position that a group has in common.
    - `visible`: the strategy's `visible_log_prob`, the log-probability of the distribution that the visible token was
      drawn from: log q for tokens drawn from the candidates, log p for tokens drawn from the vocabulary. It leaves out
      what the weights add: much lower variance, and biased as far as the reward depends on the weights.

    Raises:
        ValueError: `log_prob_type` is none of these, or `visible` where the strategy has no `visible_log_prob`.
    """
    if log_prob_type == "density":
        return strategy.log_prob(candidate_logps, mixture)
    if log_prob_type == "visible":
        if not isinstance(strategy, VisibleStrategy):
            raise ValueError(
                f"{type(strategy).__name__} does not say what its visible token was drawn from, which "
                '`mixture_score="visible"` scores: give it a method `visible_log_prob`, such as '
                "`mot_trl.strategies.base.visible_logq` for a token drawn from the candidates alone or `visible_logp` "
                "for one drawn from the vocabulary."
            )
        return strategy.visible_log_prob(candidate_logps, mixture)
    if log_prob_type == "expected":
        # Candidates recorded without weight (`LOG_ZERO_WEIGHT`) are no part of what the model was fed.
        weighted = mixture.log_weights.exp() > 0
        q = renormalize(candidate_logps.detach(), weighted).exp() * weighted
        # Masked before the product: an unused slot may hold log p = -inf, and 0 * -inf is NaN.
        return (q * candidate_logps.float().masked_fill(~weighted, 0.0)).sum(dim=-1)
    raise ValueError(f"Unknown mixture_score {log_prob_type!r}; choose one of {get_args(LogProbType)}.")
