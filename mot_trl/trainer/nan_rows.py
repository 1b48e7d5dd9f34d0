"""Rows that the model gave no numbers for: out of the loss, the baseline and the gradient."""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mot_trl.modeling.rollout import Rollout


def drop_broken(batch: dict[str, Any], rollout: Rollout, *, pad_token_id: int) -> tuple[dict[str, Any], Rollout]:
    """Make the broken rows of a scored batch blank: one padding token that is read, nothing that is learnt from.

    A mask over their loss would not do, since the gradient of what is masked is 0 times NaN: their text must not be
    read again. Where images belong to a prompt, the prompt stays, for the images are counted.

    Args:
        batch: What TRL shuffles and splits, rows first, without the record.
        rollout: The record of its completions.
        pad_token_id: A token that the model knows.

    Returns:
        The batch and the record; both as they were where no row is broken.
    """
    broken = rollout.broken
    if not broken.any():
        return batch, rollout
    blanks = {"completion_ids": pad_token_id, "completion_mask": 0, "advantages": 0.0}
    blanks |= {"old_per_token_logps": 0.0, "ref_per_token_logps": 0.0}
    if "pixel_values" not in batch:
        blanks |= {"prompt_ids": pad_token_id, "prompt_mask": 0}
    dropped = {name: batch[name].clone() for name in blanks if name in batch}
    for name, tensor in dropped.items():
        tensor[broken] = blanks[name]
    if "prompt_mask" in dropped:
        dropped["prompt_mask"][broken, -1] = 1
    nothing = Rollout.empty(*rollout.logps.shape, num_candidates=rollout.num_candidates, device=broken.device)
    record = {name: tensor.clone() for name, tensor in vars(rollout).items()}
    for name, tensor in record.items():
        tensor[broken] = getattr(nothing, name)[broken]
    return {**batch, **dropped}, Rollout(**{**record, "broken": broken})


def without_rewards(rewards: Float[Tensor, "N F"], broken: Bool[Tensor, " N"]) -> Float[Tensor, "N F"]:
    """Rewards of `F` functions, NaN for broken rows: TRL leaves those out of a group's baseline."""
    return rewards.masked_fill(broken.unsqueeze(-1), torch.nan)
