"""How noisy each exact score is: its variance as a ratio to a plain token's, at typical thinking distributions.

Run `python benchmarks/variance.py`; `--json` prints the figures for machines. A score's variance is the trace of its
covariance in the logits, estimated from draws. The distributions are Zipf's, with the exponent that gives the entropy.
"""

import argparse
import json
from typing import Any

import torch
from torch import Tensor

from mot_trl.strategies import build_strategy
from mot_trl.strategies.mixture import is_mixed

ENTROPIES = (0.05, 0.2, 0.5, 1.0, 2.0, 3.0)
CANDIDATES = (2, 3, 5)
VOCABULARY = 200
DRAWS = 10_000
LAWS: dict[str, dict[str, Any]] = {
    "one_token": {},
    "dirichlet, as published": {"strategy": "dirichlet", "min_prob": 0.0},
    "dirichlet, min_prob 0.05": {"strategy": "dirichlet", "min_prob": 0.05},
    "dirichlet, min_prob 0.15": {"strategy": "dirichlet", "min_prob": 0.15},
    "polya_urn, resolution 64": {"strategy": "polya_urn", "resolution": 64},
    "polya_urn, resolution 16": {"strategy": "polya_urn", "resolution": 16},
    "polya_urn, resolution 8": {"strategy": "polya_urn", "resolution": 8},
    "polya_urn, resolution 4": {"strategy": "polya_urn", "resolution": 4},
    "gumbel_softmax 0.5, as published": {"strategy": "gumbel_softmax", "min_ratio": 0.0},
    "gumbel_softmax 0.5, min_prob 0.05": {"strategy": "gumbel_softmax", "min_ratio": 0.0, "min_prob": 0.05},
    "gumbel_softmax 0.5, min_prob 0.15": {"strategy": "gumbel_softmax", "min_ratio": 0.0, "min_prob": 0.15},
    "gumbel_softmax 0.5, min_ratio 0.01": {"strategy": "gumbel_softmax", "min_ratio": 0.01},
    "gumbel_softmax 0.5, min_ratio 0.05": {"strategy": "gumbel_softmax", "min_ratio": 0.05},
    "gumbel_softmax 0.5, min_ratio 0.1": {"strategy": "gumbel_softmax", "min_ratio": 0.1},
    "gumbel_softmax 0.1, as published": {"strategy": "gumbel_softmax", "temperature": 0.1, "min_ratio": 0.0},
    "gumbel_softmax 0.1, min_ratio 0.05": {"strategy": "gumbel_softmax", "temperature": 0.1, "min_ratio": 0.05},
    "without_replacement": {"strategy": "without_replacement"},
    "multiplex": {"strategy": "multiplex"},
}


def main() -> None:
    """Print a table for each number of candidates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    for k in CANDIDATES:
        measured = {name: [measure(name, k, zipf(entropy)) for entropy in ENTROPIES] for name in LAWS}
        plain = [variance for variance, _ in measured["one_token"]]
        if arguments.json:
            print(json.dumps({"k": k, "entropies": ENTROPIES, "variance_and_share_mixed": measured}))
            continue
        print(f"\nk = {k}: score variance over a plain token's (share of draws that mix)")
        print(f"{'entropy, nats':36s}" + "".join(f"{entropy:>16}" for entropy in ENTROPIES))
        print(f"{'variance of a plain token':36s}" + "".join(f"{variance:>16.3f}" for variance in plain))
        for name, row in measured.items():
            cells = (
                f"{variance / base:8.2f} ({mixed:4.0%})" for (variance, mixed), base in zip(row, plain, strict=True)
            )
            print(f"{name:36s}" + "".join(f"{cell:>16}" for cell in cells))


def zipf(entropy: float) -> Tensor:
    """Log-probabilities, `(VOCABULARY,)`, proportional to a power of the rank and of the `entropy` given in nats."""
    ranks = torch.arange(1, VOCABULARY + 1).log()
    low, high = 0.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        logps = (-middle * ranks).log_softmax(dim=-1)
        low, high = (middle, high) if torch.special.entr(logps.exp()).sum() > entropy else (low, middle)
    return logps


def measure(name: str, k: int, logps: Tensor) -> tuple[float, float]:
    """Trace of the score's covariance in the logits, and the share of draws that mix."""
    options = dict(LAWS[name])
    strategy = build_strategy(options.pop("strategy", name), **({"k": k, **options} if LAWS[name] else {}))
    logits = logps.expand(DRAWS, -1).clone().requires_grad_()
    rows = logits.log_softmax(dim=-1)
    mixture = strategy.draw(rows.detach())
    (scores,) = torch.autograd.grad(strategy.log_prob(rows.gather(-1, mixture.candidate_ids), mixture).sum(), logits)
    return scores.var(dim=0).sum().item(), is_mixed(mixture.log_weights).float().mean().item()


if __name__ == "__main__":
    main()
