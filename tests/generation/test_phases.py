"""Thinking begins and ends where it should, whatever the tokens."""

import re
from contextlib import nullcontext
from itertools import pairwise

import pytest
import torch
from conftest import make_tokenizer, shared
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from mot_trl.generation.config import build_phases
from mot_trl.generation.phases import BudgetRule, ColdStopRule, Phases, PhaseState
from mot_trl.generation.stop_text import text_rule, token_texts

FLAT = torch.zeros(1, 4).log_softmax(-1)


@pytest.fixture(scope="module", params=["qwen2_5", "qwen3"])
def real(request: pytest.FixtureRequest) -> PreTrainedTokenizerBase:
    """The tokenizers of Qwen2.5, with three tokens for the tag, and of Qwen3, with one."""
    return AutoTokenizer.from_pretrained(shared("tokenizers", request.param))


def run(phases: Phases, token_ids: list[int], logps: Tensor = FLAT) -> list[PhaseState]:
    state = phases.begin(1, torch.device("cpu"))
    states = []
    for token_id in token_ids:
        state = phases.advance(state, torch.tensor([token_id]), logps, torch.tensor([False]))
        states.append(state)
    return states


def closing_step(phases: Phases, token_ids: list[int]) -> int | None:
    return next((step for step, state in enumerate(run(phases, token_ids)) if not state.thinking), None)


def test_the_stop_text_is_found_in_one_token_and_in_three(real: PreTrainedTokenizerBase) -> None:
    thought = real.encode("Let me </thin</thi think>k. 2 < 3")
    tag = real.encode("</think>")

    step = closing_step(build_phases(real), [*thought, *tag, *real.encode("So 5")])

    assert len(tag) == (1 if "</think>" in real.get_added_vocab() else 3)
    assert step == len(thought) + len(tag) - 1


@pytest.mark.parametrize(
    "pieces", [["</", "think", ">\n"], ["<", "/th", "ink", ">"], [".</", "think", ">\n\n"], list("</think>")]
)
def test_the_stop_text_is_found_in_other_tokenizations(real: PreTrainedTokenizerBase, pieces: list[str]) -> None:
    token_ids = [token_id for piece in pieces for token_id in real.encode(piece)]
    assert real.decode(token_ids) == "".join(pieces)

    assert closing_step(build_phases(real), token_ids) == len(token_ids) - 1


def test_text_that_only_looks_like_the_tag_does_not_close(tokenizer: PreTrainedTokenizerBase) -> None:
    phases = build_phases(tokenizer)

    for text in ("<think>", "</thinking", "</ think>", "< /think>", "</THINK>", "/think>"):
        assert closing_step(phases, tokenizer.encode(text)) is None, text


@pytest.mark.parametrize("text", ["aab", "abab", "</think>", "\nanswer:"])
def test_the_table_agrees_with_searching_the_whole_text(text: str, tokenizer: PreTrainedTokenizerBase) -> None:
    rule = text_rule(tokenizer, text)
    generator = torch.Generator().manual_seed(0)
    alphabet = sorted(set(text))

    for _ in range(200):
        draws = torch.randint(len(alphabet), (12,), generator=generator).tolist()
        typed = "".join(alphabet[draw] for draw in draws)
        state = torch.zeros(1, dtype=torch.long)
        fired = []
        for token_id in tokenizer.encode(typed):
            state, fires = rule.update(state, torch.tensor([token_id]), FLAT)
            fired.append(bool(fires))
        first = typed.find(text)
        assert (fired.index(True) + 1 if True in fired else -1) == (first + len(text) if first >= 0 else -1)


def test_a_token_beyond_the_tokenizer_closes_nothing(tokenizer: PreTrainedTokenizerBase) -> None:
    assert closing_step(build_phases(tokenizer), [len(tokenizer) + 40]) is None


def test_a_spent_budget_forces_the_whole_tag_and_nothing_more(tokenizer: PreTrainedTokenizerBase) -> None:
    phases = build_phases(tokenizer, max_mixture_tokens=3)
    state = phases.begin(1, torch.device("cpu"))
    drawn = torch.tensor([tokenizer.encode("x")[0]])
    seen, forced = [], []

    for _ in range(15):
        visible, was_forced, state = phases.force(state, drawn)
        seen.append(int(visible))
        forced.append(bool(was_forced))
        state = phases.advance(state, visible, FLAT, torch.tensor([False]))

    assert tokenizer.decode(seen) == "xxx</think>xxxx"
    assert forced == [False] * 3 + [True] * 8 + [False] * 4
    assert state.closed_by.item() == 1


def test_a_row_that_ends_as_its_budget_does_was_never_closed() -> None:
    phases = Phases(rules=(BudgetRule(1),), closing_ids=(3,))

    state = phases.advance(phases.begin(1, torch.device("cpu")), torch.tensor([0]), FLAT, torch.tensor([True]))

    assert state.closed_by.item() == -1
    assert state.forced.item() == -1


def test_a_closing_tag_that_is_cut_short_closes_nothing() -> None:
    phases = Phases(rules=(BudgetRule(1),), closing_ids=(3, 3))
    closed_by = []

    for steps in (2, 3):
        state = phases.begin(1, torch.device("cpu"))
        for step in range(1, steps + 1):
            visible_ids, _, state = phases.force(state, torch.tensor([0]))
            state = phases.advance(state, visible_ids, FLAT, torch.tensor([step == steps]))
        closed_by.append(state.closed_by.item())

    assert closed_by == [-1, 0]


def test_cold_stop_waits_for_patience_steps_in_a_row() -> None:
    phases = Phases(rules=(ColdStopRule(threshold=0.1, patience=2),), closing_ids=(3,))
    sure = torch.tensor([[0.0, -torch.inf, -torch.inf, -torch.inf]])
    state = phases.begin(1, torch.device("cpu"))
    thinking = []

    for logps in (sure, FLAT, sure, sure, FLAT):
        state = phases.advance(state, torch.tensor([0]), logps, torch.tensor([False]))
        thinking.append(bool(state.thinking))

    assert thinking == [True, True, True, False, False]


def test_thinking_waits_for_the_start_text_and_does_not_resume(tokenizer: PreTrainedTokenizerBase) -> None:
    phases = build_phases(tokenizer, start_text="<think>")

    states = run(phases, tokenizer.encode("a</think><think>b</think><think>c"))

    text = "a</think><think>b</think><think>c"
    expected = [text.find("<think>") + 7 <= end < text.rfind("</think>") + 8 for end in range(1, len(text) + 1)]
    assert [bool(state.thinking) for state in states] == expected


def test_only_thoughts_spend_the_budget(tokenizer: PreTrainedTokenizerBase) -> None:
    phases = build_phases(tokenizer, start_text="!", max_mixture_tokens=3)

    states = run(phases, tokenizer.encode("abcdef!ghij"))

    assert [bool(state.thinking) for state in states] == [False] * 6 + [True] * 3 + [False] * 2


SPANS = "a</think>b</think><think>c<think>d</think>e<think>f</think>g"


def thinks(text: str, **settings: object) -> str:
    """What is drawn by the strategy, one mark a character of the text."""
    phases = build_phases(make_tokenizer(), **settings)
    states = [phases.begin(1, torch.device("cpu")), *run(phases, make_tokenizer().encode(text))]
    return "".join("T" if state.thinking else "." for state in states[:-1])


def test_thinking_begins_again_at_each_restart_text_and_does_not_nest() -> None:
    flags = thinks(SPANS, restart_text="<think>")

    thoughts = [SPANS[match.start() : match.end()] for match in re.finditer("T+", flags)]
    assert thoughts == ["a</think>", "c<think>d</think>", "f</think>"]


def test_the_first_span_waits_for_its_start_text_and_later_ones_for_theirs() -> None:
    text = "<think>no!yes</think>!no<think>yes</think>"

    flags = thinks(text, start_text="!", restart_text="<think>")

    assert [text[match.start() : match.end()] for match in re.finditer("T+", flags)] == ["yes</think>", "yes</think>"]
    assert thinks(text, start_text="!").count("T") == len("yes</think>")


def test_tags_that_share_a_token_both_count(real: PreTrainedTokenizerBase) -> None:
    phases = build_phases(real, restart_text="<think>")
    ids = real.encode("a</think><think>b</think>.<think>")

    states = run(phases, ids)

    changes = [step for step, (one, other) in enumerate(pairwise(states)) if one.thinking != other.thinking]
    seen = [real.decode(ids[: step + 2]) for step in changes]
    assert [text.count("<think>") + text.count("</think>") for text in seen] == [1, 2, 3, 4]
    assert states[-1].thinking
    assert states[-1].closed_by.item() == -1


def test_budgets_hold_for_each_span_and_in_all() -> None:
    phases = build_phases(
        make_tokenizer(), stop_text=".", restart_text="!", max_mixture_tokens=3, max_total_mixture_tokens=5
    )
    written = iter("abXYZ!cdXY!efg!hi!jk")
    state, seen, flags, causes = phases.begin(1, torch.device("cpu")), "", "", []

    for letter in written:
        flags += "T" if state.thinking else "."
        visible, _, state = phases.force(state, torch.tensor(make_tokenizer().encode(letter)))
        seen += make_tokenizer().decode(visible)
        state = phases.advance(state, visible, FLAT, torch.tensor([False]))
        causes.append(state.closed_by.item())

    #     3 of 3, forced | 2 of 3, but 5 of 5: forced | no more
    assert seen == "abX.Z!cd.Y!efg!hi!jk"
    assert flags == "TTT...TT............"
    # Two budgets and the text: rules 1 and 2. A span that has begun is not closed yet.
    assert causes == [-1, -1, 1, 1, 1, -1, -1, 2, *[2] * 12]


def test_a_text_that_ends_the_last_span_of_a_budget_lets_no_other_begin() -> None:
    settings = {"stop_text": ".", "restart_text": "!", "max_total_mixture_tokens": 4}

    assert thinks("abc.!abc.!", **settings) == "TTTT......"
    assert thinks("ab.!ab.!ab", **settings) == "TTT.T....."


def test_cold_steps_are_counted_within_a_span() -> None:
    settings = {"stop_text": ".", "restart_text": "!", "cold_stop_threshold": 9.0, "cold_stop_patience": 3}

    assert thinks("ab.!cdefgh", **settings) == "TTT.TTT..."


def test_a_tag_that_is_being_forced_begins_nothing() -> None:
    begins = text_rule(make_tokenizer(), "x")
    closing = make_tokenizer().encode("xyz")
    phases = Phases(rules=(BudgetRule(2),), closing_ids=tuple(closing), restart=begins)
    state, flags = phases.begin(1, torch.device("cpu")), ""

    for letter in "aaaaaax":
        visible, _, state = phases.force(state, torch.tensor(make_tokenizer().encode(letter)))
        state = phases.advance(state, visible, FLAT, torch.tensor([False]))
        flags += "T" if state.thinking else "."

    assert flags == "T.....T"


@pytest.mark.parametrize(("restart", "stop"), [("---", "---"), ("think>", "</think>"), ("</think>", "think")])
def test_texts_that_hold_one_another_are_refused(restart: str, stop: str) -> None:
    with pytest.raises(ValueError, match="hold one another"):
        build_phases(make_tokenizer(), restart_text=restart, stop_text=stop)


def test_a_text_that_encodes_to_nothing_is_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(ValueError, match="`stop_text=''` encodes to no token"):
        build_phases(tokenizer, stop_text="")
    with pytest.raises(ValueError, match="`start_text=''` encodes to no token"):
        build_phases(tokenizer, start_text="")
    with pytest.raises(ValueError, match="`restart_text=''` encodes to no token"):
        build_phases(tokenizer, restart_text="")


def test_a_text_that_the_tokenizer_cannot_write_is_refused() -> None:
    tokenizer = make_tokenizer()

    with pytest.raises(ValueError, match="choose a text of plain ASCII"):
        build_phases(tokenizer, stop_text="→done")


def test_a_tag_that_is_added_later_is_found() -> None:
    tokenizer = make_tokenizer()
    assert len(build_phases(tokenizer).closing_ids) == 8

    tokenizer.add_tokens(["</think>"])
    phases = build_phases(tokenizer)
    (tag,) = phases.closing_ids
    state = phases.begin(1, torch.device("cpu"))
    after = phases.advance(state, torch.tensor([tag]), torch.zeros(1, 260), torch.tensor([False]))

    assert after.closed_by.tolist() == [0]
    assert token_texts(tokenizer)[tag] == "</think>"


@pytest.mark.parametrize(("longest", "fits"), [(3, True), (4, False), (11, False), (12, True)])
def test_a_budget_that_is_spent_leaves_room_for_the_tag_and_an_answer(longest: int, fits: bool) -> None:
    phases = build_phases(make_tokenizer(), max_mixture_tokens=3)

    with nullcontext() if fits else pytest.raises(ValueError, match=r"budget of 3 .* tag of 8 .* allow 12 tokens"):
        phases.check_room(longest)
