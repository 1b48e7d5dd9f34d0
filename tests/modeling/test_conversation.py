"""Conversations keep tokens and record together, whatever others put in between."""

from dataclasses import replace

import pytest
import torch

from mot_trl import Conversations, Rollout

CLOSE = 99


def drawn(*rows: list[int], thoughts: list[int]) -> Rollout:
    """A record of rows of tokens, whose first `thoughts` are mixtures of the token itself and the next, and a tag."""
    record = Rollout.empty(len(rows), max(map(len, rows)), num_candidates=2, device="cpu")
    lengths = torch.tensor(list(map(len, rows)))
    places = torch.arange(record.logps.size(1))
    mixed = places < torch.tensor(thoughts).unsqueeze(1)
    tokens = torch.tensor([[*row, *[0] * (record.logps.size(1) - len(row))] for row in rows])
    return replace(
        record,
        candidate_ids=torch.where(mixed.unsqueeze(-1), torch.stack([tokens, tokens + 1], dim=-1), 0).int(),
        log_weights=torch.where(mixed.unsqueeze(-1), torch.tensor(0.5).log(), record.log_weights),
        thinking_mask=places <= torch.tensor(thoughts).unsqueeze(1),
        mixture_mask=mixed,
        logps=-tokens.float(),
        lengths=lengths,
        closed_by=torch.zeros_like(record.closed_by),
    )


def two_turns() -> Conversations:
    """Row 0: prompt 1 2, a thought of 10 11, an answer of 20, others' 3 4, a thought of 12, an answer of 21 22."""
    talks = Conversations([[1, 2], [1]])
    first = [[10, 11, CLOSE, 20], [13, CLOSE]]
    talks.add_turn(first, drawn(*first, thoughts=[2, 1]))
    talks.add_tokens(0, [3, 4])
    second = [[12, CLOSE, 21, 22]]
    talks.add_turn(second, drawn(*second, thoughts=[1]), rows=[0])
    return talks


def test_a_record_is_of_all_turns() -> None:
    talks = two_turns()

    record = talks.record

    assert talks.prompts() == [[1, 2, 10, 11, CLOSE, 20, 3, 4, 12, CLOSE, 21, 22], [1, 13, CLOSE]]
    assert talks.own == [[1, 1, 1, 1, 0, 0, 1, 1, 1, 1], [1, 1]]
    assert record.turn_numbers.tolist() == [[0, 0, 0, 0, -1, -1, 1, 1, 1, 1], [0, 0, *[-1] * 8]]
    assert record.mixture_mask.nonzero().tolist() == [[0, 0], [0, 1], [0, 6], [1, 0]]
    assert record.candidate_ids[0, 6].tolist() == [12, 13]
    assert record.logps[0].tolist() == [-10, -11, -CLOSE, -20, 0, 0, -12, -CLOSE, -21, -22]
    assert record.lengths.tolist() == [10, 2]


def test_a_history_is_aligned_with_the_ends_of_its_prompts() -> None:
    talks = two_turns()

    history = talks.history([1, 0])

    assert history is not None
    assert history.mixture_mask.nonzero().tolist() == [[0, 8], [1, 0], [1, 1], [1, 6]]
    assert history.candidate_ids[0, 8].tolist() == [13, 14]
    assert Conversations([[1]]).history() is None


def test_what_is_cut_is_forgotten() -> None:
    talks = two_turns()

    talks.cut(0, 7)
    talks.add_turn([[30]], drawn([30], thoughts=[-1]), rows=[0])

    assert talks.prompts([0]) == [[1, 2, 10, 11, CLOSE, 20, 3, 4, 12, 30]]
    assert talks.record.turn_numbers[0].tolist() == [0, 0, 0, 0, -1, -1, 1, 2]
    assert talks.record.closed_by[0] == 0


def test_a_prompt_that_goes_on_is_followed_and_any_other_refused() -> None:
    talks = two_turns()

    talks.follow(1, [1, 13, CLOSE, 5])

    assert talks.completion_ids[1] == [13, CLOSE, 5]
    assert talks.own[1] == [1, 1, 0]
    with pytest.raises(ValueError, match="conversation 1's next turn differs from its tokens so far at token 1"):
        talks.follow(1, [1, 14, CLOSE, 5, 6])
    with pytest.raises(ValueError, match="at token 2"):
        talks.follow(1, [1, 13])


def test_thoughts_that_a_template_drops_lose_their_record() -> None:
    talks = two_turns()

    talks.rewrite(0, [1, 2, 20, 3, 4, 21, 22, 5])

    assert talks.prompts([0]) == [[1, 2, 20, 3, 4, 21, 22, 5]]
    assert not talks.record.mixture_mask[0].any()
    assert talks.record.mixture_mask[1].any()
    assert talks.own[0] == [0] * 6


def test_thoughts_that_a_template_keeps_stay_mixtures_in_their_new_places() -> None:
    talks = two_turns()

    # Qwen3's template keeps the thoughts since the last question; here it also rewrites what is in between.
    talks.rewrite(0, [1, 2, 20, 3, 4, 4, 12, CLOSE, 21, 22, 5])
    talks.add_turn([[14, CLOSE, 23]], drawn([14, CLOSE, 23], thoughts=[1]), rows=[0])

    record = talks.record
    assert record.mixture_mask[0].nonzero().flatten().tolist() == [4, 9]
    assert record.candidate_ids[0, 4].tolist() == [12, 13]
    # Drawn after other tokens: read again, but not scored.
    assert talks.own[0] == [0] * 9 + [1] * 3
    assert record.turn_numbers[0].tolist() == [-1] * 9 + [0] * 3


def test_what_comes_before_the_first_difference_is_scored_still() -> None:
    talks = two_turns()

    talks.rewrite(0, [1, 2, 10, 11, CLOSE, 20, 3, 21, 22])

    assert talks.own[0] == [1, 1, 1, 1, 0, 0, 0]
    assert talks.record.mixture_mask[0].nonzero().flatten().tolist() == [0, 1]
    assert talks.record.turn_numbers[0].tolist() == [0, 0, 0, 0, -1, -1, -1]


def test_the_prompt_may_be_written_anew_as_well() -> None:
    talks = two_turns()

    talks.rewrite(0, [1, 7, 10, 11, CLOSE, 20])

    assert (talks.prompt_ids[0], talks.completion_ids[0]) == ([1], [7, 10, 11, CLOSE, 20])
    assert talks.record.mixture_mask[0].nonzero().flatten().tolist() == [1, 2]


def test_thoughts_that_a_template_changes_are_refused() -> None:
    talks = two_turns()

    with pytest.raises(ValueError, match="2 of the 3 tokens of a thought are in the new prompt"):
        talks.rewrite(0, [1, 2, 11, CLOSE, 20])


def test_a_turn_needs_its_own_record() -> None:
    talks = two_turns()

    with pytest.raises(ValueError, match="A turn of 1 conversations needs as many completions"):
        talks.add_turn([[1], [2]], drawn([1], [2], thoughts=[1, 1]), rows=[0])
    with pytest.raises(ValueError, match="of at most 3 tokens"):
        talks.add_turn([[1, 2, 3]], drawn([1], thoughts=[1]), rows=[0])
    with pytest.raises(ValueError, match="add a turn first"):
        _ = Conversations([[1]]).record
