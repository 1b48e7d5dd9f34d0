"""Drop completions with NaN or infinite logits from the loss, the baseline and the gradient."""

from typing import Any

from mot_trl.modeling.rollout import Rollout
from mot_trl.trainer.kl import OLD_PROBE_LOGPS


def drop_non_finite(batch: dict[str, Any], rollout: Rollout, *, pad_token_id: int) -> tuple[dict[str, Any], Rollout]:
    """Blank the rows of a scored batch whose logits were not finite: one padding token to read, nothing to learn from.

    Where images belong to a prompt, the prompt stays, because its image tokens are counted.

    `batch` is what TRL shuffles and splits, rows first, without the record. Without such rows both are unchanged.
    """
    rows = rollout.non_finite
    if not rows.any():
        return batch, rollout
    # A mask over the loss would not do. The gradient of what is masked is 0 * NaN, so the text that produced NaN must
    # not be read again.
    blanks = {"completion_ids": pad_token_id, "completion_mask": 0, "advantages": 0.0}
    blanks |= {"old_per_token_logps": 0.0, "ref_per_token_logps": 0.0, OLD_PROBE_LOGPS: 0.0}
    blanks |= {"sampling_per_token_logps": 0.0, "importance_sampling_ratio": 1.0}
    if "pixel_values" not in batch:
        blanks |= {"prompt_ids": pad_token_id, "prompt_mask": 0}
    dropped = {name: batch[name].clone() for name in blanks if name in batch}
    for name, tensor in dropped.items():
        tensor[rows] = blanks[name]
    if "prompt_mask" in dropped:
        # Attention over no position at all would be NaN again.
        dropped["prompt_mask"][rows, -1] = 1
    nothing = Rollout.empty_like(rollout)
    record = {name: tensor.clone() for name, tensor in rollout.tensors().items()}
    for name, tensor in record.items():
        tensor[rows] = getattr(nothing, name)[rows]
    return {**batch, **dropped}, Rollout(**{**record, "non_finite": rows})
