import json

import pytest

from mot_trl.tasks import math as maths


def write(file, *rows):
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_columns_are_named_by_arguments(tmp_path):
    svamp = {"Body": "Ann has 3 pens. ", "Question": "How many after 5 more?", "Answer": 8.0}
    file = write(tmp_path / "test.jsonl", svamp)

    rows = maths.load(path=file, question_column=("Body", "Question"), answer_column="Answer")

    assert rows["question"] == ["Ann has 3 pens. How many after 5 more?"]
    assert rows["answer"] == ["8"]
    assert rows[0]["prompt"] == [{"role": "user", "content": f"{rows[0]['question']}\n\n{maths.INSTRUCTION}"}]


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("25", "25"),
        (25, "25"),
        (2.5, "2.5"),
        (["$2\\sqrt{3}$"], "$2\\sqrt{3}$"),
        ("so\n#### 1,080", "1,080"),
        ("Thus \\boxed{\\frac{1}{2}}.", "\\frac{1}{2}"),
        (["1", "2"], None),
        ([], None),
        (None, None),
        (" ", None),
        (True, None),
    ],
)
def test_golds_come_in_many_forms(gold, answer):
    assert maths.gold_answer(gold) == answer


def test_wrong_columns_are_refused_with_those_there(tmp_path):
    file = write(tmp_path / "test.jsonl", {"problem": "1+1", "answer": "2"})

    with pytest.raises(ValueError, match=r"columns \['answer', 'problem'\], not \['question'\].*`question_column`"):
        maths.load(path=file)


def test_rows_with_two_golds_are_left_out_with_a_warning(tmp_path, caplog):
    file = write(tmp_path / "test.jsonl", {"question": "a", "answer": ["1"]}, {"question": "b", "answer": ["1", "2"]})

    with caplog.at_level("WARNING", logger="mot_trl"):
        rows = maths.load(path=file)

    assert rows["question"] == ["a"]
    assert "Left out 1 of 2 rows" in caplog.text


def test_a_column_without_golds_is_refused(tmp_path):
    file = write(tmp_path / "test.jsonl", {"question": "a", "answer": []})

    with pytest.raises(ValueError, match="No row has a single gold in `answer`"):
        maths.load(path=file)


def test_a_source_is_needed():
    with pytest.raises(ValueError, match=r"`hub_id`.*`path`"):
        maths.load()


def test_the_reward_grades_expressions():
    pytest.importorskip("math_verify")
    completions = [r"<think>\boxed{1}</think><answer>\boxed{\tfrac12}</answer>", r"\boxed{\log_2 8}", "none"]

    assert maths.correct_answer(completions=completions, answer=[r"\frac{1}{2}", "3", "3"]) == [1.0, 1.0, 0.0]
