"""Files of the shapes that are published, and others that people have."""

import json

import pytest

from mot_trl.tasks import gsm8k
from mot_trl.tasks import math as maths

CHAT = [{"role": "user", "content": "Solve the problem. What is 2+32?\n\nWrite Answer: $Answer."}]
SHAPES = {
    "AMC": ({"id": 0, "problem": "1+26?", "answer": 27.0, "url": "u"}, {"question_column": "problem"}, "27"),
    "AIME": (
        {"ID": "2024-I-1", "Problem": "1+24?", "Solution": "s", "Answer": 25},
        {"question_column": "Problem", "answer_column": "Answer"},
        "25",
    ),
    "AIME as text": ({"problem": "1+24?", "answer": "025"}, {"question_column": "problem"}, "025"),
    "SVAMP": (
        {"ID": "c-1", "Body": "Ann has 3 pens. ", "Question": "How many after 5 more?", "Answer": 8.0, "Type": "Add"},
        {"question_column": ("Body", "Question"), "answer_column": "Answer"},
        "8",
    ),
    "ASDiv": (
        {"body": "Seven red and two green apples.", "question": "How many are there?", "answer": "9 (apples)"},
        {"question_column": ("body", "question")},
        "9 (apples)",
    ),
    "Minerva": (
        {"problem": "What is the magnitude?", "solution": r"... so it is \boxed{4e33}, in erg.", "type": "Astronomy"},
        {"question_column": "problem", "answer_column": "solution"},
        "4e33",
    ),
    "OlympiadBench": (
        {"id": 1, "question": "2+2?", "solution": ["s"], "final_answer": ["$2 \\sqrt{3}$"], "unit": None},
        {"answer_column": "final_answer"},
        "$2 \\sqrt{3}$",
    ),
    "NuminaMath": (
        {"source": "s", "problem": "1/2?", "solution": r"Thus $\boxed{\frac{1}{2}}$, as needed.", "messages": CHAT},
        {"question_column": "problem", "answer_column": "solution"},
        r"\frac{1}{2}",
    ),
    "DeepScaleR": ({"problem": "a?", "answer": "-\\frac{2}{3}", "solution": ""}, {"question_column": "problem"},
                   "-\\frac{2}{3}"),
    "DAPO": (
        {"prompt": CHAT, "ability": "MATH", "reward_model": {"ground_truth": "34", "style": "rule"}},
        {"question_column": "prompt", "answer_column": "reward_model.ground_truth"},
        "34",
    ),
    "Big-Math": ({"problem": "9+9?", "answer": "18", "source": "s", "domain": ["a"], "llama8b_solve_rate": 0.5},
                 {"question_column": "problem"}, "18"),
    "MetaMath": (
        {"query": "2+2?", "response": "2+2 = 4.\n#### 4\nThe answer is: 4", "type": "t"},
        {"question_column": "query", "answer_column": "response"},
        "4",
    ),
}  # fmt: skip


def write(file, rows):
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.mark.parametrize("name", SHAPES)
def test_published_shapes_load_and_their_golds_earn_1(name, tmp_path) -> None:
    row, columns, answer = SHAPES[name]

    rows = maths.load(path=write(tmp_path / "test.jsonl", [row, row]), **columns)

    assert rows.column_names == ["prompt", "question", "answer"]
    assert rows["answer"] == [answer] * 2
    assert "?" in rows[0]["question"]
    completions = [rf"\boxed{{{answer}}}", "<answer>31415</answer>"]
    assert maths.correct_answer(completions, answer=rows["answer"], question=rows["question"]) == [1.0, 0.0]


@pytest.mark.parametrize(
    ("answers", "golds"),
    [
        ([5, "6", 7.0, "8 (pens)"], ["5", "6", "7.0", "8 (pens)"]),
        (["5", ["6"]], ["5", "6"]),
        ([5, ["6"], "7"], ["5", "6", "7"]),
        ([5, 6.5], ["5", "6.5"]),
        ([True, 5, "6"], ["true", "5", "6"]),
        ([2**70, "6"], [str(2**70), "6"]),
        ([{"value": 5}, "6"], [None, "6"]),
        ([None, "6", 7], [None, "6", "7"]),
        ([["5", "6"], "7"], [None, "7"]),
    ],
)
def test_columns_of_mixed_types_load(answers, golds, tmp_path) -> None:
    file = write(
        tmp_path / "test.jsonl", [{"question": f"{n}?", "answer": answer} for n, answer in enumerate(answers)]
    )

    rows = maths.load(path=file)

    assert dict(zip(rows["question"], rows["answer"], strict=True)) == {
        f"{n}?": gold for n, gold in enumerate(golds) if gold is not None
    }


def test_mixed_types_in_other_columns_and_in_structs_do_not_matter(tmp_path) -> None:
    given = [
        {"question": "a?", "reward_model": {"ground_truth": "34"}, "extra": 1},
        {"question": "b?", "reward_model": {"ground_truth": 35}, "extra": ["x"]},
        {"question": "c?", "reward_model": {"ground_truth": [36]}, "extra": {"y": 1}, "late": 1},
    ]

    rows = maths.load(path=write(tmp_path / "test.jsonl", given), answer_column="reward_model.ground_truth")

    assert rows["answer"] == ["34", "35", "36"]


def test_a_column_that_the_first_row_lacks_is_there(tmp_path) -> None:
    rows = maths.load(path=write(tmp_path / "test.jsonl", [{"question": "a?"}, {"question": "b?", "answer": 5}]))

    assert rows["answer"] == ["5"]


@pytest.mark.parametrize(
    ("first", "second"), [("a?", None), ("a?", " "), (CHAT, []), (CHAT, [{"role": "assistant", "content": "x"}])]
)
def test_a_row_without_a_problem_is_refused_by_number(first, second, tmp_path) -> None:
    file = write(tmp_path / "test.jsonl", [{"question": first, "answer": 5}, {"question": second, "answer": 5}])

    with pytest.raises(ValueError, match=r"Row 1: `question` holds "):
        maths.load(path=file)


OLYMPIAD = [
    {"question": "a?", "final_answer": ["12.5"], "unit": "cm", "error": "1e-1"},
    {"question": "b?", "final_answer": ["$2 \\sqrt{3}$"], "unit": None, "error": None},
    {"question": "c?", "final_answer": ["$0.52,0.76$"], "unit": "$\\mathrm{m/s}$", "error": "1e-2,1e-1"},
    {"question": "d?", "final_answer": ["$\\frac{1}{3}$"], "unit": "%", "error": ""},
    {"question": "e?", "final_answer": ["$(1.5, 2.5)$"], "unit": None, "error": 0.1},
]


def olympiad(tmp_path, rows):
    columns = {"answer_column": "final_answer", "unit_column": "unit", "tolerance_column": "error"}
    return maths.load(path=write(tmp_path / "test.jsonl", rows), **columns)


@pytest.mark.parametrize(
    ("row", "right", "wrong"),
    [
        (
            0,
            ("12.5", "12.5 cm", "12.45", "12.6 cm", r"\frac{25}{2}", r"\frac{25}{2} \text{ cm}", r"\sqrt{156}"),
            ("12.61", "12.5 m", "12.39", "125", "12.6 m", "nan", "12.5x", ""),
        ),
        (1, (r"2\sqrt{3}", r"\sqrt{12}"), ("3.464", "3.46410161514")),
        (2, ("0.52, 0.76", "0.525,0.755", "0.76, 0.52", "0.52 m/s, 0.76 m/s"), ("0.52, 0.78", "0.52", "0.54, 0.76")),
        (3, (r"\frac{1}{3}\%", r"\frac13"), (r"\frac{1}{3} \text{ cm}", "0.33")),
        (4, ("(1.5,2.5)", "(1.41, 2.6)", r"(\frac32, \frac52)"), ("(2.5, 1.5)", "(1.5, 2.7)", "1.5, 2.5")),
    ],
)
def test_tolerances_and_units_of_olympiad_bench_count(row, right, wrong, tmp_path) -> None:
    rows = olympiad(tmp_path, OLYMPIAD)
    answers = [*right, *wrong]

    columns = {name: [rows[row][name]] * len(answers) for name in ("answer", "question", "tolerance")}
    rewards = maths.correct_answer([rf"<answer>{answer}</answer>" for answer in answers], **columns)

    assert dict(zip(answers, rewards, strict=True)) == dict.fromkeys(right, 1.0) | dict.fromkeys(wrong, 0.0)
    assert rows["tolerance"] == [0.1, None, 0.01, None, 0.1]


@pytest.mark.parametrize("error", ["about", "-1", "inf", "nan", []])
def test_a_tolerance_that_is_no_distance_is_refused_by_row(error, tmp_path) -> None:
    rows = [OLYMPIAD[0], OLYMPIAD[0] | {"error": error}]

    with pytest.raises(ValueError, match=r"Row 1: `error` holds"):
        olympiad(tmp_path, rows)


def test_rows_left_out_are_named(tmp_path, caplog) -> None:
    rows = [{"question": "a?", "answer": "5"}, {"question": "b?", "answer": "notfound"}]

    with caplog.at_level("WARNING", logger="mot_trl"):
        maths.load(path=write(tmp_path / "test.jsonl", rows))

    assert "Left out 1 of 2 rows" in caplog.text
    assert "row 1: 'notfound'" in caplog.text


def test_gsm8k_names_the_row_of_another_type(tmp_path) -> None:
    rows = [{"question": "a?", "answer": "#### 5"}, {"question": "b?", "answer": 5}]

    with pytest.raises(ValueError, match=r"Row 1: A GSM8K solution ends in.*'5'"):
        gsm8k.load(path=write(tmp_path / "train.jsonl", rows))


@pytest.mark.parametrize("name", ["test.json", "test.jsonl", "test.parquet"])
def test_json_arrays_lines_and_parquet_load(name, tmp_path) -> None:
    import datasets

    rows = [{"question": "a?", "answer": "5"}, {"question": "b?", "answer": "6"}]
    if name.endswith("parquet"):
        datasets.Dataset.from_list(rows).to_parquet(tmp_path / name)
    else:
        text = json.dumps(rows, indent=1) if name == "test.json" else "\n".join(map(json.dumps, rows))
        (tmp_path / name).write_text("\ufeff" + text, encoding="utf-8")

    assert maths.load(path=tmp_path)["answer"] == ["5", "6"]
    assert maths.load(path=tmp_path / name)["answer"] == ["5", "6"]


@pytest.mark.parametrize(
    ("text", "message"),
    [("[1]", "row 0 holds 1"), ("[", "is not JSON"), ("[]", "holds no rows"), ("5", "row 0 holds 5")],
)
def test_a_damaged_array_is_refused_with_its_place(text, message, tmp_path) -> None:
    (tmp_path / "test.json").write_text(text)

    with pytest.raises(ValueError, match=message):
        maths.load(path=tmp_path)
