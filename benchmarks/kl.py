"""What TRL's KL estimator (k3) sees of a drift from the reference: on the recorded draws, and on probes.

Run `python benchmarks/kl.py`; some seconds. Policy and reference are distributions over 200 tokens, Zipf's with an
entropy of 1 nat: the reference nearly the same (its logits plus noise), or on other tokens (its ranks shuffled).
Printed, for k3 weighted by the ratio as TRL does by default: its mean over draws, which should be the true KL, its
standard deviation, and the variance of its gradient in the logits as a ratio to that of an ordinary token's.
"""

from typing import Any

import torch
from torch import Tensor
from variance import DRAWS, VOCABULARY, zipf

from mot_trl.strategies import build_strategy

ARMS: dict[str, dict[str, Any]] = {
    "one_token": {},
    "one_token, k=3": {"strategy": "one_token", "k": 3},
    "a lone candidate": {"strategy": "top_k", "k": 1},
    "top_k": {"k": 3},
    "polya_urn": {"k": 3},
    "gumbel_softmax": {"k": 5},
    "gumbel_softmax, min_ratio=0": {"strategy": "gumbel_softmax", "k": 5, "min_ratio": 0.0},
    "dirichlet, min_prob=0": {"strategy": "dirichlet", "k": 3, "min_prob": 0.0},
    "multiplex": {"k": 3},
}


def main() -> None:
    """Print a table for each reference."""
    torch.manual_seed(0)
    policy = zipf(1.0)
    references = {
        "nearly the same": (policy + 0.3 * torch.randn(VOCABULARY)).log_softmax(dim=-1),
        "on other tokens": policy[torch.randperm(VOCABULARY)],
    }
    for name, reference in references.items():
        true = (policy.exp() * (policy - reference)).sum()
        print(f"\nreference {name}: true KL {true:.3f}\n{'':32s}      mean    std. dev.  gradient variance")
        _, _, plain = measure({}, "one_token", policy, reference)
        for arm, options in ARMS.items():
            mean, deviation, variance = measure(options, arm, policy, reference)
            print(f"on draws: {arm:32s}{mean:10.3f}{deviation:10.3f}{variance / plain:10.2f}")
        # One more draw from p, with whatever strategy: an ordinary token.
        mean, deviation, variance = measure({}, "one_token", policy, reference)
        print(f"on probes: any strategy{'':19s}{mean:10.3f}{deviation:10.3f}{variance / plain:10.2f}")


def measure(options: dict[str, Any], arm: str, policy: Tensor, reference: Tensor) -> tuple[float, float, float]:
    """Mean and standard deviation of the estimates, and the trace of their gradients' covariance in the logits."""
    options = dict(options)
    strategy = build_strategy(options.pop("strategy", arm), **options)
    logits = policy.expand(DRAWS, -1).clone().requires_grad_()
    logps = logits.log_softmax(dim=-1)
    mixture = strategy.draw(logps.detach())
    mine, theirs = (
        strategy.log_prob(each.gather(-1, mixture.candidate_ids), mixture)
        for each in (logps, reference.expand(DRAWS, -1))
    )
    estimates = ((theirs - mine).exp() - (theirs - mine) - 1) * (mine - mine.detach()).exp()
    (gradients,) = torch.autograd.grad(estimates.sum(), logits)
    return estimates.mean().item(), estimates.std().item(), gradients.var(dim=0).sum().item()


if __name__ == "__main__":
    main()
