import json
import pickle

import pytest

from mot_trl.tasks import gsm8k


def test_fixture_rows_have_a_prompt_and_a_plain_number():
    rows = gsm8k.load(path=gsm8k.FIXTURE)

    assert len(rows) == 24
    assert rows.column_names == ["prompt", "question", "answer"]
    assert [message["role"] for message in rows[0]["prompt"]] == ["user"]
    assert rows[0]["question"] in rows[0]["prompt"][0]["content"]
    assert all(row["answer"].lstrip("-").replace(".", "").isdigit() for row in rows)


def test_splits_of_the_fixture_are_disjoint():
    train, test = (gsm8k.load(split, path=gsm8k.FIXTURE) for split in ("train", "test"))

    assert len(test) == 8
    assert not set(train["question"]) & set(test["question"])


def test_a_missing_path_is_refused_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"`path` is .*nowhere.*leave `path` out"):
        gsm8k.load(path=tmp_path / "nowhere")


def test_a_hub_out_of_reach_is_told_with_the_way_around_it():
    with pytest.raises(ConnectionError, match=r"openai/gsm8k.*holds train\.jsonl.*--data_path"):
        gsm8k.load()


def test_a_missing_split_is_refused_with_those_there():
    with pytest.raises(FileNotFoundError, match=r"validation\.jsonl.*'test', 'train'"):
        gsm8k.load("validation", path=gsm8k.FIXTURE)


def test_a_row_without_a_gold_is_refused(tmp_path):
    file = tmp_path / "train.jsonl"
    file.write_text(json.dumps({"question": "1 + 1?", "answer": "two"}) + "\n")

    with pytest.raises(ValueError, match=r"Row 0: .*####"):
        gsm8k.load(path=file)


def test_a_damaged_line_is_refused_by_number(tmp_path):
    file = tmp_path / "train.jsonl"
    file.write_text('{"question": "q", "answer": "#### 1"}\n{"question": \n')

    with pytest.raises(ValueError, match="line 2 is not JSON"):
        gsm8k.load(path=file)


def test_line_separators_inside_a_string_do_not_split_a_row(tmp_path):
    file = tmp_path / "train.jsonl"
    file.write_text(json.dumps({"question": "a\u2028b", "answer": "#### 1,080"}, ensure_ascii=False) + "\n")

    assert gsm8k.load(path=file)["answer"] == ["1080"]


def test_gold_solutions_earn_1_and_others_0():
    with (gsm8k.FIXTURE / "train.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    golds = [gsm8k.gold_number(row["answer"]) for row in rows]
    right = [
        [{"role": "assistant", "content": f"<think>\n{row['answer']}\n</think>\n#### {gold}"}]
        for row, gold in zip(rows, golds, strict=True)
    ]
    wrong = [[{"role": "assistant", "content": f"<answer>{gold}1</answer>"}] for gold in golds]
    unfinished = [f"<think>{row['answer']}" for row in rows]

    assert gsm8k.correct_answer(completions=right, answer=golds) == [1.0] * 24
    assert gsm8k.correct_answer(completions=wrong, answer=golds) == [0.0] * 24
    assert gsm8k.correct_answer(completions=unfinished, answer=golds, trainer_state=None) == [0.0] * 24


@pytest.mark.parametrize("name", ["correct_answer", "integer_answer", "strict_format", "soft_format", "tag_count"])
def test_rewards_pickle_by_name(name):
    reward = getattr(gsm8k, name)

    assert reward.__name__ == name
    assert pickle.loads(pickle.dumps(reward)) is reward
