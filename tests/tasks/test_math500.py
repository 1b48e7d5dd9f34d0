import json
import pickle
from pathlib import Path

import pytest

from mot_trl.tasks import math500

pytest.importorskip("math_verify")
DATA = Path(__file__).parents[2] / ".." / "shared" / "data" / "math500"


def test_rows_have_the_problem_and_its_gold(tmp_path):
    row = {"problem": "What is half of 3?", "solution": "...", "answer": "\\frac32", "level": 1, "unique_id": "a/1"}
    (tmp_path / "test.jsonl").write_text(json.dumps(row) + "\n")

    rows = math500.load(path=tmp_path)

    assert rows.column_names == ["prompt", "question", "answer"]
    assert rows["answer"] == ["\\frac32"]
    assert rows[0]["prompt"][0]["content"].startswith("What is half of 3?\n")


def test_a_missing_split_is_refused_with_those_there(tmp_path):
    (tmp_path / "test.jsonl").write_text("{}\n")

    with pytest.raises(FileNotFoundError, match=r"holds no train\.jsonl; choose a `split` among \['test'\]"):
        math500.load("train", path=tmp_path)


def test_training_golds_come_from_the_solutions(tmp_path):
    row = {"problem": "What is half of 3?", "solution": "It is $\\boxed{\\frac32}.$", "type": "Algebra"}
    (tmp_path / "train.jsonl").write_text(json.dumps(row) + "\n")

    assert math500.load("train", path=tmp_path)["answer"] == ["\\frac32"]


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the dataset is not in {DATA}")
def test_every_solution_of_the_dataset_earns_1():
    rows = math500.load(path=DATA)
    with (DATA / "test.jsonl").open(encoding="utf-8") as lines:
        solutions = [json.loads(line)["solution"] for line in lines]

    rewards = math500.correct_answer(completions=solutions, answer=rows["answer"], question=rows["question"])

    assert len(rewards) == 500
    assert [(row, reward) for row, reward in zip(rows["answer"], rewards, strict=True) if reward != 1.0] == []


@pytest.mark.parametrize("name", ["correct_answer", "integer_answer", "strict_format", "soft_format", "tag_count"])
def test_rewards_pickle_by_name(name):
    reward = getattr(math500, name)

    assert reward.__name__ == name
    assert pickle.loads(pickle.dumps(reward)) is reward
