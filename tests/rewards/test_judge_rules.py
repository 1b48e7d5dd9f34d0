"""The judge's small machines, with a clock of paper: its circuit breaker, its dialects, and what it reads."""

import json

import pytest

from mot_trl.rewards.judge.breaker import CircuitBreaker
from mot_trl.rewards.judge.dialect import Dialect
from mot_trl.rewards.judge.prompt import Question, read_reply


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def breaker(clock):
    return CircuitBreaker(threshold=3, rest=10, max_rest=35, clock=clock)


def fail(breaker, clock, times):
    for _ in range(times):
        breaker.failed(clock.now)


def test_straight_failures_open_the_circuit_and_a_success_between_starts_anew(breaker, clock):
    fail(breaker, clock, 2)
    clock.now += 1
    breaker.succeeded()
    clock.now += 1
    fail(breaker, clock, 2)

    assert breaker.try_call()

    fail(breaker, clock, 1)

    assert breaker.is_open
    assert not breaker.try_call()


def test_the_rest_doubles_with_failed_probes_up_to_its_limit_and_a_success_resets_it(breaker, clock):
    fail(breaker, clock, 3)
    rests = []
    for _ in range(4):
        rest = 0
        while not breaker.try_call():
            clock.now += 1
            rest += 1
        rests.append(rest)
        breaker.failed(clock.now)
    clock.now += 35

    assert rests == [10, 20, 35, 35]
    assert breaker.try_call()

    breaker.succeeded()

    assert not breaker.is_open


def test_one_probe_at_a_time_and_a_lost_one_is_given_up(breaker, clock):
    fail(breaker, clock, 3)
    clock.now += 10

    assert [breaker.try_call(), breaker.try_call()] == [True, False]
    assert breaker.is_probing

    clock.now += 10

    assert not breaker.is_probing
    assert breaker.try_call()


def test_late_failures_of_calls_sent_before_the_circuit_opened_prolong_nothing(breaker, clock):
    sent_at = clock.now
    fail(breaker, clock, 3)
    clock.now += 9
    for _ in range(30):
        breaker.failed(sent_at)
    clock.now += 1

    assert breaker.try_call()


def test_calls_cut_off_while_others_are_answered_are_no_failures(breaker, clock):
    sent_at = clock.now
    clock.now += 1
    breaker.succeeded()
    for _ in range(30):
        breaker.failed(sent_at)

    assert not breaker.is_open


QUESTION = Question("Compare.", {"answer": "x"}, {"correct": 1.0, "incorrect": 0.0})


def test_a_dialect_gives_up_what_the_complaint_names():
    full = Dialect()

    assert full.simpler("Unsupported value: 'temperature'") == Dialect(temperature=False)
    assert full.simpler("use max_completion_tokens? unknown field") == Dialect(limit="max_tokens")
    assert full.simpler("what?") == Dialect(form="json_object")


@pytest.mark.parametrize("complaint", ["", "temperature", "max_completion_tokens", "temperature and response_format"])
def test_every_complaint_comes_to_an_end(complaint):
    dialect, steps = Dialect(), 0
    while (simpler := dialect.simpler(complaint)) is not None:
        dialect, steps = simpler, steps + 1

    assert dialect.form == "word"
    assert steps <= 4


def test_each_form_asks_for_what_it_reads():
    requests = {
        form: Dialect(form=form).request(QUESTION, model="m", max_reply_tokens=9)
        for form in ("json_schema", "json_object", "word")
    }

    assert requests["json_schema"]["response_format"]["json_schema"]["schema"] == QUESTION.schema
    assert requests["json_object"]["response_format"] == {"type": "json_object"}
    assert "response_format" not in requests["word"]
    assert "JSON object" in requests["json_object"]["messages"][0]["content"].rpartition("Reply with")[2]
    assert "JSON" not in requests["word"]["messages"][0]["content"].rpartition("Reply with")[2]
    assert all(request["max_completion_tokens"] == 9 for request in requests.values())


def test_a_key_knows_the_model_the_words_and_the_data():
    other_words = Question("Contrast.", QUESTION.data, QUESTION.verdicts)
    other_data = Question("Compare.", {"answer": "y"}, QUESTION.verdicts)
    other_values = Question("Compare.", QUESTION.data, {"correct": 1.0, "incorrect": 0.1})

    keys = [QUESTION.key("m"), QUESTION.key("n"), *(q.key("m") for q in (other_words, other_data, other_values))]

    assert len(set(keys)) == 5
    assert keys[0] == Question("Compare.", {"answer": "x"}, {"correct": 1.0, "incorrect": 0.0}).key("m")


@pytest.mark.parametrize(
    "usage", [None, {}, [], {"prompt_tokens": "9"}, {"prompt_tokens": -1}, {"prompt_tokens": True}]
)
def test_odd_token_counts_are_not_believed(usage):
    body = {"choices": [{"message": {"content": "correct"}}], "usage": usage}

    assert read_reply(json.dumps(body).encode()) == (True, "correct", None, None)
