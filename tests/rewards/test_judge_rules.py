"""The judge's request and its cache key, and what is read of a reply."""

import json

import pytest

from mot_trl.rewards.judge.prompt import JudgeRequest, read_reply

QUESTION = JudgeRequest("Compare.", {"answer": "x"}, {"correct": 1.0, "incorrect": 0.0})


def test_the_schema_allows_the_verdicts_and_nothing_else():
    schema = QUESTION.response_format()["json_schema"]["schema"]

    assert schema["properties"] == {"verdict": {"type": "string", "enum": ["correct", "incorrect"]}}
    assert schema["additionalProperties"] is False
    assert '"correct", "incorrect"' in QUESTION.messages()[0]["content"].rpartition("Reply with")[2]


def test_a_key_knows_the_model_the_words_and_the_data():
    other_words = JudgeRequest("Contrast.", QUESTION.data, QUESTION.verdicts)
    other_data = JudgeRequest("Compare.", {"answer": "y"}, QUESTION.verdicts)
    other_values = JudgeRequest("Compare.", QUESTION.data, {"correct": 1.0, "incorrect": 0.1})

    uncacheable = JudgeRequest("Compare.", QUESTION.data, QUESTION.verdicts, cacheable=False)
    others = (other_words, other_data, other_values, uncacheable)

    keys = [QUESTION.key("m"), QUESTION.key("n"), *(other.key("m") for other in others)]

    assert len(set(keys)) == 6
    assert keys[0] == JudgeRequest("Compare.", {"answer": "x"}, {"correct": 1.0, "incorrect": 0.0}).key("m")


@pytest.mark.parametrize(
    "usage", [None, {}, [], {"prompt_tokens": "9"}, {"prompt_tokens": -1}, {"prompt_tokens": True}]
)
def test_odd_token_counts_are_not_believed(usage):
    body = {"choices": [{"message": {"content": "correct"}}], "usage": usage}

    assert read_reply(json.dumps(body).encode()) == (True, "correct", 0, 0)
