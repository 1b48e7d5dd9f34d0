"""The user's own `rollout_func` of TRL's, whose record of mixtures is taken before TRL sees the rest."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers.utils import logging

from mot_trl.modeling.conversation import ROLLOUT
from mot_trl.modeling.rollout import Rollout

logger = logging.get_logger(__name__)


def recording(rollout_func: Callable[..., Any], keep: Callable[[Rollout, Any], None], *, probes: bool) -> Any:
    """The function, which gives `keep` the record and the completions of each call, and TRL everything else.

    Completions without a record are of plain tokens; the first time there is a warning.

    Args:
        probes: Whether the KL term needs the record to hold probes.
    """

    def generate(prompts: Any, trainer: Any) -> dict[str, Any]:
        output = dict(rollout_func(prompts, trainer))
        record, completion_ids = output.pop(ROLLOUT, None), output.get("completion_ids")
        if completion_ids is None:
            return output  # TRL says what is missing
        if record is None:
            logger.warning_once(
                f"`rollout_func` returns no record of mixtures under the key {ROLLOUT!r}, so its completions are "
                "trained as plain tokens. Generate with `mot_trl.generate` and return `Conversations.outputs()` to "
                "train mixtures, or set `normal_generation=True` to be without them."
            )
            record = _plain_record(completion_ids, output.get("logprobs"))
        else:
            _check_record(record, completion_ids, probes=probes)
        keep(record, completion_ids)
        return output

    return generate


def _plain_record(completion_ids: Sequence[Sequence[int]], logprobs: Sequence[Sequence[float]] | None) -> Rollout:
    """The record of completions in which nothing was mixed; log-probabilities are NaN where they are not known."""
    lengths = torch.tensor(list(map(len, completion_ids)))
    record = Rollout.empty(len(lengths), int(lengths.max()), num_candidates=1, device="cpu")
    record.logps.fill_(torch.nan)
    for row, values in enumerate(logprobs or ()):
        known = [torch.nan if value is None else value for value in values]
        record.logps[row, : len(known)] = torch.tensor(known)
    return record.end_rows(lengths)


def _check_record(record: Any, completion_ids: Sequence[Sequence[int]], *, probes: bool) -> None:
    if not isinstance(record, Rollout):
        raise TypeError(f"`rollout_func` returns a {type(record).__name__} as {ROLLOUT!r}; give a `mot_trl.Rollout`.")
    rows, columns = record.logps.shape
    if rows != len(completion_ids) or columns < max(map(len, completion_ids)):
        raise ValueError(
            f"The record that `rollout_func` returns has {rows} rows of {columns} tokens, and its completions are "
            f"{len(completion_ids)} of at most {max(map(len, completion_ids))}; return them in the same order."
        )
    if probes and record.probe_ids is None:
        raise ValueError(
            "`beta` is not 0, and the record that `rollout_func` returns has no probes for the KL term: generate with "
            "`decoder=trainer.decoder`."
        )
    for row, ids in enumerate(completion_ids):
        _check_row(record, row, torch.tensor(ids, device=record.logps.device))


def _check_row(record: Rollout, row: int, ids: torch.Tensor) -> None:
    thinking = record.thinking_mask[row, : len(ids)]
    used = record.log_weights[row, : len(ids)] > -torch.inf
    is_candidate = ((record.candidate_ids[row, : len(ids)] == ids.unsqueeze(-1)) & used).any(dim=-1)
    if (wrong := (thinking & ~is_candidate).nonzero().flatten()).numel():
        raise ValueError(
            f"Token {int(wrong[0])} of completion {row} is none of the candidates in the record that `rollout_func` "
            "returns, so rows or tokens have moved; return what was generated together, in the same order."
        )
