import time

import pytest

from mot_trl.rewards.answer import answer_part, completion_text, final_answer


@pytest.mark.parametrize(
    ("completion", "text"),
    [
        ("plain", "plain"),
        ([{"role": "assistant", "content": "a"}], "a"),
        ([{"content": "no role"}], "no role"),
        ([{"role": "assistant", "content": "a"}, {"role": "tool", "content": "t"}, {"content": "b"}], "b"),
        ([{"role": "assistant", "content": "a"}, {"role": "user", "content": "u"}], "a"),
        ([{"content": [{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}]}], "ab"),
        ([{"role": "assistant", "content": None}], ""),
        ([{"role": "user", "content": "u"}], ""),
        ([], ""),
    ],
)  # fmt: skip
def test_the_last_assistant_message_is_the_text(completion, text):
    assert completion_text(completion) == text


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("<think>a</think> b", " b"),
        ("a</think>b", "b"),
        ("a", "a"),
        ("<think>a", None),
        ("<think>a</think>b<think>c", None),
        ("<think>a</think>b</think>c", "c"),
        ("", ""),
    ],
)
def test_what_follows_the_thinking_is_the_answer_part(text, part):
    assert answer_part(text) == part


def test_a_phase_that_the_prompt_opened_must_be_closed():
    assert answer_part("still thinking \\boxed{5}", opened=True) is None
    assert final_answer("still thinking \\boxed{5}", opened=True) is None
    assert final_answer("thought</think>\\boxed{5}", opened=True) == "5"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"\boxed{1} \boxed{2}", "2"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed {3}", "3"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{x = \boxed{5}}", r"x = \boxed{5}"),
        (r"so $x = \boxed 7$.", "7"),
        (r"\boxed{1} then \boxed{2", "1"),
        (r"{ \boxed{1}", "1"),
        (r"} \boxed{1} }", "1"),
        (r"\\boxed{7}", "7"),
        (r"\boxed{}", None),
        (r"\boxedness{5}", None),
        ("<answer>\n6 </answer>", "6"),
        ("<answer>6</answer><answer>7</answer>", "7"),
        ("<answer>6</answer><answer>7", "6"),
        ("</answer>6<answer>", None),
        (r"<answer>6</answer> \boxed{7}", "7"),
        ("#### 1,080\nmore", "1,080"),
        ("#### 3\n#### 4", "4"),
        ("<answer>6</answer>\n#### 7", "6"),
        ("The answer is 8.", None),
        (r"<think>\boxed{9}</think>", None),
    ],
)
def test_the_last_marked_answer_is_final(text, answer):
    assert final_answer(text) == answer


@pytest.mark.parametrize(
    "piece", [r"\boxed{", "<answer>", "</answer>", "{", r"\boxed{}", "</think>", "####", "\\", r"\boxed "]
)
def test_hostile_texts_take_linear_time(piece):
    text = piece * 200_000

    start = time.thread_time()  # of this thread alone: a busy machine does not count
    final_answer(text)

    assert time.thread_time() - start < 2
