"""What a mixture counts as in the policy gradient: its density, or one of the published stand-ins for it."""

from typing import Literal, get_args

from jaxtyping import Float
from torch import Tensor

from mot_trl.strategies.base import Strategy, visible_logp
from mot_trl.strategies.mixture import Mixture
from mot_trl.strategies.support import renormalize

LogProbType = Literal["density", "expected", "visible"]


def score(
    strategy: Strategy, candidate_logps: Float[Tensor, "N K"], mixture: Mixture, *, how: LogProbType = "density"
) -> Float[Tensor, " N"]:
    """Log-probability (nats) that stands for each mixture in the ratio of the loss.

    - `density`: the strategy's own `log_prob`. Unbiased where `strategy.exact`.
    - `expected`: `sum_i q_i log p_i` over the candidates with weight; q, p renormalized on them, is held constant.
      MoT-G's "loss on all tokens" (arXiv 2509.21482), and no likelihood. Where the candidates are the likeliest tokens
      it does not depend on what was drawn: a good reward merely gathers p on them, and of group-relative advantages,
      whose sum is 0, nothing is left at a position that a group has in common.
    - `visible`: log p of the visible token. Where that token is an exact draw it is a draw's score less all that the
      weights add: much less noise, and biased as far as the reward depends on the weights.

    Raises:
        ValueError: `how` is none of these.
    """
    if how == "density":
        return strategy.log_prob(candidate_logps, mixture)
    if how == "visible":
        return visible_logp(candidate_logps, mixture)
    if how == "expected":
        weighted = mixture.log_weights.exp() > 0
        shares = renormalize(candidate_logps.detach(), weighted).exp() * weighted
        return (shares * candidate_logps.float().masked_fill(~weighted, 0.0)).sum(dim=-1)
    raise ValueError(f"Unknown mixture_score {how!r}; choose one of {get_args(LogProbType)}.")
