import time

import pytest

from mot_trl.rewards.format import TAGS, integer_answer, soft_format, strict_format, tag_count

STRICT = "<think>\n1 + 1\nis 2\n</think>\n<answer>\n2\n</answer>\n"


def scores(text):
    return [reward(completions=[text])[0] for reward in (integer_answer, strict_format, soft_format, tag_count)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (STRICT, [1, 1, 1, 1]),
        (STRICT.removeprefix("<think>\n"), [1, 1, 1, 1]),
        (STRICT.replace("\n", ""), [1, 0, 1, 1]),
        ("Sure! " + STRICT, [1, 0, 1, 1]),
        (STRICT.replace("</think>\n", "</think>\nSo:\n"), [1, 0, 1, 1]),
        (STRICT.replace("2\n</answer>", "two\n</answer>"), [0, 1, 1, 1]),
        (STRICT.replace("2\n</answer>", "</answer>"), [0, 0, 1, 1]),
        (STRICT + "x" * 100, [1, 0, 1, 0.9]),
        (STRICT.removesuffix("</answer>\n"), [0, 0, 0, 0.75]),
        (STRICT + STRICT, [1, 0, 1, 0]),
        ("<answer>2</answer><think>1</think>", [0, 0, 0, 1 - 0.016]),
        ("<think>1", [0, 0, 0, 0.25]),
        ("<answer>-1,080</answer>", [1, 0, 0, 0.5]),
        ("<answer>1.5</answer>", [0, 0, 0, 0.5]),
        ("\\boxed{42}", [1, 0, 0, 0]),
        ("", [0, 0, 0, 0]),
        ("</answer>" + "x" * 5000, [0, 0, 0, 0]),
    ],
)
def test_each_format_reward_sees_what_it_names(text, expected):
    assert scores(text) == pytest.approx(expected)


def test_messages_are_read_as_strings_are():
    completion = [{"role": "assistant", "content": STRICT}]

    assert scores(completion) == scores(STRICT)


@pytest.mark.parametrize("piece", [*TAGS, "</think><answer>", "\n", "<think>\n"])
def test_hostile_texts_take_linear_time_and_stay_in_range(piece):
    start = time.thread_time()  # of this thread alone: a busy machine does not count
    rewards = scores(piece * 100_000)

    assert time.thread_time() - start < 2
    assert all(0 <= reward <= 1 for reward in rewards)
