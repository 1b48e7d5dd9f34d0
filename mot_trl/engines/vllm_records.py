"""Records in vLLM's log-probabilities: the sampler writes each step into them, and whoever asked reads a rollout.

A request gets, for each token, the token with the log-probability of its draw, then the `K` candidates with their
log-weights, then the probe with its own where there are probes. The token's rank holds the flags.
"""

import zlib
from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from mot_trl.generation.step import Step
from mot_trl.modeling.rollout import Rollout

# Of a bit each. The first tells a record from vLLM's own ranks.
IS_RECORD = 1 << 30
FLAGS = {"thinking_mask": 1, "mixture_mask": 2, "forced_mask": 4, "non_finite": 8}
CLOSED_BY = 1 << 8  # times the index of the rule, plus 1


class RecordShape(NamedTuple):
    """What a record holds of each token: `K` candidates, and perhaps a probe."""

    num_candidates: int
    probes: bool

    @property
    def width(self) -> int:
        """Entries of a token, itself included."""
        return 1 + self.num_candidates + self.probes


def write_record(step: Step, shape: RecordShape) -> tuple[Int[Tensor, "N L"], Float[Tensor, "N L"], Int[Tensor, " N"]]:
    """Ids, log-probabilities and ranks of a step; `L` is the shape's width."""
    ids = torch.cat([step.visible_ids.unsqueeze(-1), step.candidate_ids, step.probe_ids.unsqueeze(-1)], dim=-1)
    values = torch.cat([step.logps.unsqueeze(-1), step.log_weights, step.probe_logps.unsqueeze(-1)], dim=-1)
    flags = IS_RECORD + CLOSED_BY * (step.phase.closed_by.int() + 1)
    for name, bit in FLAGS.items():
        flags = flags + bit * getattr(step, name).int()
    return ids[:, : shape.width].int(), values[:, : shape.width], flags


def read_records(completions: Sequence[Any], shape: RecordShape) -> Rollout:
    """Read the record of completions, vLLM's `CompletionOutput`, that were asked for as `FlatLogprobs`.

    Raises:
        RuntimeError: They hold no records, so the engine did not think in mixtures.
    """
    length = max(len(completion.token_ids) for completion in completions)
    record = Rollout.empty(len(completions), length, **shape._asdict(), device="cpu")
    for row, completion in enumerate(completions):
        _read_record(record, row, completion, shape)
    return record


def _read_record(record: Rollout, row: int, completion: Any, shape: RecordShape) -> None:
    flat, length, width = completion.logprobs, len(completion.token_ids), shape.width
    if len(flat.token_ids) != length * width or not all(rank & IS_RECORD for rank in flat.ranks[::width]):
        raise RuntimeError(
            "vLLM's completions hold no record of mixtures, so the engine thought in plain tokens. Make it with "
            "`mot_trl.engines.vllm.load_engine`, and leave `VLLM_USE_V2_MODEL_RUNNER` unset or 1."
        )
    ids = torch.tensor(flat.token_ids, dtype=torch.int32).view(length, width)
    values = torch.tensor(flat.logprobs, dtype=torch.float32).view(length, width)
    flags = torch.tensor(flat.ranks[::width], dtype=torch.long)
    if ids[:, 0].tolist() != list(completion.token_ids):
        raise RuntimeError("vLLM's completion is not the one in its record; a plug-in has changed its tokens.")
    end = 1 + shape.num_candidates
    columns = {"candidate_ids": ids[:, 1:end], "log_weights": values[:, 1:end], "logps": values[:, 0]}
    columns |= {name: (flags & FLAGS[name]).bool() for name in ("thinking_mask", "mixture_mask", "forced_mask")}
    if shape.probes:
        columns |= {"probe_ids": ids[:, end], "probe_logps": values[:, end]}
    for name, column in columns.items():
        getattr(record, name)[row, :length] = column
    record.lengths[row] = length
    record.non_finite[row] = bool((flags & FLAGS["non_finite"]).any())
    if length:
        record.closed_by[row] = (flags[-1] - IS_RECORD) // CLOSED_BY - 1


def to_text(record: Rollout) -> str:
    """A record as text, to travel in JSON: its tensors as safetensors, compressed, in base64."""
    return b64encode(zlib.compress(save(record.tensors()), level=1)).decode()


def from_texts(texts: Sequence[str]) -> Rollout:
    """Read outputs of `to_text`, and join them.

    Raises:
        ValueError: A text is no record, or was cut.
    """
    try:
        records = [Rollout(**load(zlib.decompress(b64decode(text)))) for text in texts]
    except (SafetensorError, TypeError, ValueError, zlib.error) as error:
        raise ValueError(f"A record of mixtures could not be read: {error}") from error
    length = max(record.logps.size(1) for record in records)
    batches = [record.resize(length).to_batch() for record in records]
    return Rollout.from_batch({name: torch.cat([batch[name] for batch in batches]) for name in batches[0]})


def token_logprobs(token_ids: Sequence[int], logps: Sequence[float]) -> list[dict[int, Any]]:
    """Log-probabilities of draws in the form of vLLM's own, each as if it were its visible token's."""
    from vllm.logprobs import Logprob  # ty: ignore[import-not-found]

    return [{token_id: Logprob(logp, rank=1)} for token_id, logp in zip(token_ids, logps, strict=True)]
