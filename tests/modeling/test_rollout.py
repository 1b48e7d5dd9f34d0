"""The record survives what TRL does to a batch."""

from dataclasses import replace

import pytest
import torch
from torch.distributed.utils import _apply_to_tensors
from trl.trainer.utils import shuffle_sequence_dict, split_tensor_dict

from mot_trl.modeling.rollout import Rollout, UncastRollout


def random_rollout(rows: int = 6, length: int = 5, slots: int = 3, *, probes: bool = False) -> Rollout:
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(rows, length, generator=generator) < 0.5
    return Rollout(
        candidate_ids=torch.randint(50, (rows, length, slots), generator=generator, dtype=torch.int32),
        log_weights=torch.randn(rows, length, slots, generator=generator).log_softmax(-1),
        thinking_mask=mask,
        mixture_mask=mask & (torch.arange(length) % 2 == 0),
        forced_mask=~mask,
        logps=torch.arange(rows).float().unsqueeze(1).expand(rows, length),
        lengths=torch.full((rows,), length),
        closed_by=torch.arange(rows, dtype=torch.int8),
        non_finite=torch.arange(rows) % 2 == 0,
        probe_ids=torch.randint(50, (rows, length), generator=generator, dtype=torch.int32) if probes else None,
    )


def test_rows_stay_together_through_trl_shuffle_and_split() -> None:
    rollout = random_rollout()
    names = torch.arange(6)

    torch.manual_seed(1)
    batches = split_tensor_dict(shuffle_sequence_dict({"names": names, **rollout.to_batch()}), 3)

    seen = torch.cat([batch["names"] for batch in batches])
    assert sorted(seen.tolist()) == names.tolist()
    assert seen.tolist() != names.tolist()
    for batch in batches:
        part = Rollout.from_batch(batch)
        for row, name in enumerate(batch["names"]):
            assert torch.equal(part.candidate_ids[row], rollout.candidate_ids[name])
            assert torch.equal(part.log_weights[row], rollout.log_weights[name])
            assert torch.equal(part.mixture_mask[row], rollout.mixture_mask[name])
            assert part.closed_by[row] == rollout.closed_by[name]


@pytest.mark.parametrize("length", [2, 5, 9])
def test_resizing_keeps_what_fits_and_draws_nothing_else(length: int) -> None:
    rollout = random_rollout()

    resized = rollout.resize(length)

    kept = min(length, 5)
    assert resized.candidate_ids.shape == (6, length, 3)
    assert torch.equal(resized.candidate_ids[:, :kept], rollout.candidate_ids[:, :kept])
    assert not resized.mixture_mask[:, kept:].any()
    assert not resized.thinking_mask[:, kept:].any()
    assert torch.allclose(resized.log_weights.exp().sum(-1), torch.ones(6, length))


@pytest.mark.parametrize("probes", [True, False])
def test_probes_stay_with_their_rows_and_columns(probes: bool) -> None:
    rollout = random_rollout(probes=probes)

    found = Rollout.from_batch(rollout.resize(9).to_batch()).rows(1, 3).resize(4)

    assert (found.probe_ids is not None) == probes
    assert found.probe_ids is None or torch.equal(found.probe_ids, rollout.probe_ids[1:3, :4])


def test_a_row_that_ends_earlier_has_drawn_and_closed_nothing_beyond() -> None:
    record = Rollout.empty(4, 5, num_candidates=2, device="cpu")
    thinking = torch.tensor([[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]).bool()
    forced = torch.tensor([[0] * 5, [0, 0, 1, 1, 0], [0] * 5, [0, 0, 1, 1, 0]]).bool()
    closed_by, logps = torch.tensor([0, 1, -1, 1], dtype=torch.int8), torch.full((4, 5), -2.0)
    rollout = replace(
        record, thinking_mask=thinking, mixture_mask=thinking, forced_mask=forced, closed_by=closed_by, logps=logps
    )

    ended = rollout.end_rows(torch.tensor([2, 3, 4, 5]))

    assert ended.lengths.tolist() == [2, 3, 4, 5]
    assert ended.thinking_mask.sum(-1).tolist() == ended.mixture_mask.sum(-1).tolist() == [2, 2, 4, 2]
    assert ended.forced_mask.sum(-1).tolist() == [0, 1, 0, 2]
    assert ended.logps.sum(-1).tolist() == [-4.0, -6.0, -8.0, -10.0]
    # The second row's tag has lost a token.
    assert ended.closed_by.tolist() == [0, -1, -1, 1]


@pytest.mark.parametrize(
    ("length", "closed_by"),
    # Before a thought, within the first span, after it; before the next thought, after it, within the tag, after it.
    [(1, -1), (2, -1), (3, 1), (4, 1), (5, -1), (6, -1), (7, -1), (8, 1), (10, 1)],
)
def test_of_several_spans_the_last_one_that_began_says_whether_the_thinking_is_closed(
    length: int, closed_by: int
) -> None:
    record = Rollout.empty(1, 10, num_candidates=2, device="cpu")
    # A token, two thoughts, two tokens, a thought, a tag of two tokens, an answer.
    thinking, forced = (torch.tensor([[mark == kind for mark in ".TT..TFFA."]]) for kind in "TF")
    rollout = replace(record, thinking_mask=thinking, forced_mask=forced, closed_by=torch.tensor([1]))

    assert rollout.end_rows(torch.tensor([length])).closed_by.tolist() == [closed_by]
    # Where the last span was open at the end, the text stands in for what had ended the one before.
    never = replace(rollout, closed_by=torch.tensor([-1]))
    assert never.end_rows(torch.tensor([3])).closed_by.tolist() == [0]


def test_a_batch_without_record_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="rollout_candidate_ids"):
        Rollout.from_batch({"prompt_ids": torch.zeros(1)})


def test_nothing_is_drawn_or_closed_in_an_empty_record() -> None:
    rollout = Rollout.empty(2, 3, num_candidates=2, device="cpu")

    assert not (rollout.thinking_mask | rollout.mixture_mask | rollout.forced_mask).any()
    assert rollout.log_weights.exp().tolist() == [[[1.0, 0.0]] * 3] * 2
    assert rollout.closed_by.tolist() == [-1, -1]


def test_rows_are_those_asked_for() -> None:
    rollout = random_rollout()

    rows = rollout.rows(2, 5)

    assert rows.closed_by.tolist() == [2, 3, 4]
    assert torch.equal(rows.candidate_ids, rollout.candidate_ids[2:5])


def test_the_model_is_fed_mixtures_and_not_all_that_was_drawn_while_thinking() -> None:
    rollout = random_rollout()

    assert not torch.equal(rollout.mixture_mask, rollout.thinking_mask)
    assert torch.equal(rollout.inputs.mixture_mask, rollout.mixture_mask)


def test_mixtures_come_row_by_row() -> None:
    rollout = random_rollout()
    visible_ids = torch.arange(30).reshape(6, 5)

    mixtures = rollout.mixtures(visible_ids)

    assert mixtures.visible_ids.tolist() == visible_ids[rollout.thinking_mask].tolist()
    assert mixtures.candidate_ids.dtype == torch.long


@pytest.mark.untyped("casts ids to bfloat16, as FSDP does")
def test_an_uncast_rollout_keeps_its_dtypes_under_fsdp() -> None:
    rollout = random_rollout()

    def cast(argument: object) -> object:  # as FSDP's mixed precision does
        return _apply_to_tensors(lambda tensor: tensor.to(torch.bfloat16), {"rollout": argument})["rollout"]

    assert cast(rollout).log_weights.dtype == torch.bfloat16
    assert cast(UncastRollout(rollout)).rollout is rollout
