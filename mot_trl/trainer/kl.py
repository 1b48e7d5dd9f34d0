"""The KL term of TRL's loss, estimated at each thought on a token drawn from the model's own distribution."""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

# Batch key: log-probabilities of the probes (nats) that belong to TRL's `old_per_token_logps`.
OLD_PROBE_LOGPS = "old_probe_logps"


def add_probe_logps(batch: dict[str, Any], probe_logps: list[Float[Tensor, "B C"]]) -> dict[str, Any]:
    """Put the probes' log-probabilities into a generated batch: for the reference's own, and beside the old ones.

    Args:
        batch: What TRL shuffles and splits.
        probe_logps: Of each pass that TRL asked for, in order (nats); empty without probes.
    """
    # TRL asks for the old ones first, if at all.
    asked = [name for name in ("old_per_token_logps", "ref_per_token_logps") if name in batch]
    keys = {"old_per_token_logps": OLD_PROBE_LOGPS, "ref_per_token_logps": "ref_per_token_logps"}
    return batch | {keys[name]: logps for name, logps in zip(asked, probe_logps, strict=False)}


def estimate_on_probes(
    batch: dict[str, Any],
    logps: Float[Tensor, "B C"],
    probe_logps: Float[Tensor, "B C"],
    thinking_mask: Bool[Tensor, "B C"],
    *,
    weighted: bool,
) -> dict[str, Any]:
    """The reference's log-probabilities, changed so that TRL's KL of each thought is that of its probe.

    With `f(x) = e^x - x - 1`, the estimate (k3) at a probe of log-probability l, and r under the reference, is
    `f(r - l)`. TRL computes `f(reference - logps)`, and multiplies it by the ratio of the draw where that of the probe
    is due. So the reference becomes `logps + x`, with the x that makes TRL's product the probe's. Autograd follows:
    what depends on `logps` cancels, and the gradient is the probe's.

    Args:
        batch: What the loss is computed of, after `add_probe_logps`.
        logps: Log-probabilities of the draws, as TRL has them (nats).
        probe_logps: Of the probes, by the same pass (nats).
        weighted: Whether TRL multiplies by a ratio of each token (`use_bias_correction_kl`).

    Returns:
        The keys of the batch to replace; none without a reference.
    """
    if "ref_per_token_logps" not in batch:
        return {}
    at, reference = thinking_mask, batch["ref_per_token_logps"]
    shift = reference[at] - probe_logps[at]
    if weighted:
        log_ratio = logps - batch.get("old_per_token_logps", logps.detach())
        log_probe_ratio = probe_logps - batch.get(OLD_PROBE_LOGPS, probe_logps.detach())
        # Bounded, or the ratio of a density might leave float32's range.
        weights = (log_probe_ratio - log_ratio)[at].clamp(-30, 30).exp()
        shift = inverse_k3((shift.expm1() - shift) * weights)
    shifted = reference.masked_scatter(at, (logps[at] + shift).to(reference.dtype))
    return {"ref_per_token_logps": shifted}


def inverse_k3(values: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
    """The x from 0 on with `e^x - x - 1 = values`, differentiable."""
    tiny = torch.finfo(values.dtype).tiny
    target = values.detach().clamp_min(0)
    # Newton's method from above: e^x = 1 + x + target, and x is at most the root of 2 target.
    x = torch.log1p(target + (2 * target).sqrt())
    for _ in range(4):
        x = x - (x.expm1() - x - target) / x.expm1().clamp_min(tiny)
    return x + (values - values.detach()) / x.expm1().clamp_min(tiny)
