"""Whatever the judge's server does, rewards are None, a metric counts it, and the batch ends in time."""

import asyncio
import contextlib
import json
import logging
import socket
import sys
import time
from collections import defaultdict
from email.utils import formatdate

import pytest
from mock_judge_server import Reply, error, honest, says, serving, told, verdict

from mot_trl.rewards.judge import JudgeReward, Limits
from mot_trl.rewards.judge.reward import METRICS

# Imported now, for its second would count against the first test's deadline.
pytest.importorskip("openai")

KEY = "sk-secret-0123456789"
QUICK = Limits(deadline=3.0, try_seconds=0.6, concurrency=8, retries=1)


@pytest.fixture(autouse=True)
def key_that_must_not_leak(monkeypatch, caplog, capfd):
    """A key in the environment, and after the test: in no log at any level, on no stream."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    caplog.set_level(logging.DEBUG)

    yield

    assert KEY not in caplog.text
    assert KEY not in "".join(capfd.readouterr())


# Right, but not as the rules read numbers.
NUMBERS = [f"just {word}" for word in ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")]


def judge(url: str, **settings) -> JudgeReward:
    settings = {"limits": QUICK, "canary_every": None} | settings
    return JudgeReward("mock", base_url=url, **settings)


def boxed(*answers: str) -> list[list[dict[str, str]]]:
    return [[{"role": "assistant", "content": f"\\boxed{{{answer}}}"}] for answer in answers]


def asked(reward: JudgeReward, answers: list[str], golds: list[str]) -> tuple[list[float | None], dict[str, float]]:
    """The rewards and metrics of one batch, on a loop of its own, as TRL would ask."""
    metrics: dict[str, list[float]] = defaultdict(list)

    call = reward(
        prompts=["?"] * len(answers),
        completions=boxed(*answers),
        completion_ids=[[0]] * len(answers),
        answer=golds,
        trainer_state=None,
        log_extra=lambda *_: None,
        log_metric=lambda name, value: metrics[name].append(value),
    )
    rewards = asyncio.run(call)
    assert set(metrics) == {f"judge/{name}" for name in METRICS}
    return rewards, {name.removeprefix("judge/"): values[0] for name, values in metrics.items()}


HTML = b"<!doctype html><title>502</title><h1>Bad gateway</h1>"
LONG_JSON = says(json.dumps({"verdict": "correct"})).body

FAULTS = {
    "never answers": Reply(delay=30),
    "dripping body": Reply(body=LONG_JSON, drip=0.2),
    "retry after ten minutes": error(429, headers=(("retry-after", "600"),)),
    "retry after never": error(429, headers=(("retry-after", "inf"),)),
    "retry after a date": error(429, headers=(("retry-after", formatdate(time.time() + 110, usegmt=True)),)),
    "retry after nonsense": error(429, headers=(("retry-after", "soon"),)),
    "quota gone": error(429, "You exceeded your current quota", code="insufficient_quota"),
    "key refused, and quoted": error(401, f"Incorrect API key provided: {KEY}"),
    "payment required": error(402),
    "forbidden": error(403),
    "no such model": error(404),
    "always 400": error(400, "no"),
    "always 500": error(500),
    "overloaded": error(503),
    "HTML with status 200": Reply(body=HTML, content_type="text/html"),
    "HTML that says JSON": Reply(body=HTML),
    "HTML with status 502": Reply(status=502, body=HTML, content_type="text/html"),
    "empty body": Reply(),
    "empty object": Reply(body=b"{}"),
    "a list": Reply(body=b"[1, 2]"),
    "null": Reply(body=b"null"),
    "broken JSON": Reply(body=LONG_JSON[:60]),
    "deep JSON": Reply(body=b"[" * 100_000),
    "not UTF-8": Reply(body=b"\xff\xfe\x00"),
    "an error with status 200": Reply(body=error(500).body),
    "no choices": Reply(body=b'{"choices": []}'),
    "null choices": Reply(body=b'{"choices": null}'),
    "choice without message": Reply(body=b'{"choices": [{"index": 0}]}'),
    "null content": says(None),
    "refusal": Reply(body=b'{"choices": [{"message": {"content": null, "refusal": "I cannot"}}]}'),
    "content in parts": says([{"type": "text", "text": '{"verdict": "correct"}'}]),
    "cut by its length": says('{"verdict": "corr', finish="length"),
    "empty content": says("", finish="length"),
    "filtered": says("", finish="content_filter"),
    "prose": says("The student is correct."),
    "a verdict in prose": says('I was told to say {"verdict": "correct"} but the answer is wrong.'),
    "two verdicts": says('{"verdict": "correct"} {"verdict": "incorrect"}'),
    "a field twice": says('{"verdict": "incorrect", "verdict": "correct"}'),
    "another verdict": says('{"verdict": "mostly correct"}'),
    "true instead": says('{"verdict": true}'),
    "a number instead": says('{"verdict": 1}'),
    "nested": says('{"verdict": {"verdict": "correct"}}'),
    "another field": says('{"grade": "correct"}'),
    "reset before the body": Reply(body=LONG_JSON, cut=0),
    "reset in mid-body": Reply(body=LONG_JSON, cut=40),
    "endless redirects": Reply(status=307, headers=(("location", "/v1/chat/completions"),)),
    "no content": Reply(status=204),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.slow
def test_every_fault_gives_none_in_time_and_is_counted(fault):
    with serving(lambda _request: FAULTS[fault]) as server:
        started = time.monotonic()

        rewards, metrics = asked(judge(server.url), ["just eighteen", "just nineteen"], ["18", "19"])

        assert time.monotonic() - started < QUICK.deadline + 3
    assert rewards == [None, None]
    assert metrics["unjudged"] == 2
    assert metrics["failures"] + metrics["unreadable"] + metrics["late"] + metrics["skipped"] > 0
    assert metrics["errors"] == 0


def test_connection_refused_gives_none():
    with contextlib.closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: the port refuses
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"

        rewards, metrics = asked(judge(url), ["just eighteen"], ["18"])

    assert rewards == [None]
    assert metrics["failures"] == 1
    assert metrics["retries"] == 1


def test_a_hundred_slow_requests_end_at_the_deadline_within_the_concurrency():
    answers = [f"eighteen of {noun * 2}" for noun in map(chr, range(97, 117))] * 5
    golds = [f"eighteen {i}" for i in range(100)]
    with serving(lambda _request: Reply(delay=20)) as server:
        limits = Limits(deadline=1.5, try_seconds=20, concurrency=8)
        started = time.monotonic()

        rewards, metrics = asked(judge(server.url, limits=limits, rules_first=False), answers, golds)

        assert time.monotonic() - started < 4
    assert rewards == [None] * 100
    assert metrics["late"] > 0
    assert server.most_at_once <= 8


def test_a_slow_batch_keeps_the_verdicts_that_came_in_time():
    def behave(request):
        slow = "slow" in request["messages"][-1]["content"]
        return Reply(delay=20) if slow else verdict("correct")

    with serving(behave) as server:
        limits = Limits(deadline=1.0, try_seconds=20)
        golds = ["parabola", "a slow parabola"]

        rewards, _ = asked(judge(server.url, limits=limits), ["some parabola", "one slow parabola"], golds)

    assert rewards == [1.0, None]


@pytest.mark.parametrize("fault", ["never answers", "dripping body"])
def test_a_try_ends_at_its_own_limit_long_before_the_deadline(fault):
    with serving(lambda _request: FAULTS[fault]) as server:
        limits = Limits(deadline=20, try_seconds=0.4, retries=1)
        started = time.monotonic()

        _, metrics = asked(judge(server.url, limits=limits), ["just eighteen"], ["18"])

        assert time.monotonic() - started < 8
    assert (metrics["calls"], metrics["failures"], metrics["late"]) == (2, 1, 0)


@pytest.mark.parametrize(
    "fault",
    ["quota gone", "key refused, and quoted", "no such model", "retry after ten minutes", "retry after a date"],
)
def test_what_no_retry_can_mend_is_not_retried(fault):
    with serving(lambda _request: FAULTS[fault]) as server:
        started = time.monotonic()

        _, metrics = asked(judge(server.url), ["just eighteen"], ["18"])

        assert time.monotonic() - started < 2.5
    assert (metrics["calls"], metrics["retries"], metrics["failures"]) == (1, 0, 1)


def test_a_named_pause_is_kept():
    replies = iter([error(429, headers=(("retry-after", "1"),)), verdict("correct")])
    with serving(lambda _request: next(replies)) as server:
        started = time.monotonic()

        rewards, _ = asked(judge(server.url), ["just eighteen"], ["18"])

        assert time.monotonic() - started >= 1
    assert rewards == [1.0]


def test_a_transient_error_is_retried():
    replies = iter([error(503), verdict("correct")])
    with serving(lambda _request: next(replies)) as server:
        rewards, metrics = asked(judge(server.url), ["just eighteen"], ["18"])

    assert rewards == [1.0]
    assert (metrics["calls"], metrics["retries"], metrics["failures"]) == (2, 1, 0)


def test_an_unreadable_verdict_is_asked_for_once_more_in_a_simpler_form():
    replies = iter([says("Certainly! The answer is correct."), says("correct")])
    with serving(lambda _request: next(replies)) as server:
        rewards, metrics = asked(judge(server.url), ["just eighteen"], ["18"])

    assert rewards == [1.0]
    assert (metrics["calls"], metrics["unreadable"]) == (2, 1)
    assert server.requests[0]["response_format"]["type"] == "json_schema"
    assert "response_format" not in server.requests[1]


def test_what_a_server_refuses_is_left_out_and_remembered():
    def behave(request):
        if "temperature" in request:
            return error(400, "Unsupported value: 'temperature' does not support 0 with this model.")
        return says("incorrect")

    with serving(behave) as server:
        reward = judge(server.url)
        first, metrics = asked(reward, ["just eighteen"], ["18"])
        second, metrics_after = asked(reward, ["just nineteen"], ["19"])

    assert first == second == [0.0]
    assert (metrics["calls"], metrics_after["calls"]) == (2, 1)
    assert metrics["failures"] == 0
    assert "response_format" not in server.requests[-1]


def test_a_question_that_is_refused_in_every_form_changes_no_other():
    def behave(request):
        return error(400, "too long") if "long" in told(request)["reference"] else honest(request)

    with serving(behave) as server:
        reward = judge(server.url)
        refused, metrics = asked(reward, ["something else"], ["a long gold"])
        asked(reward, ["just eighteen"], ["18"])

    assert refused == [None]
    assert (metrics["calls"], metrics["failures"]) == (2, 1)
    assert "response_format" in server.requests[-1]


def test_request_options_override_and_remove_fields_in_every_form():
    options = {"temperature": None, "max_completion_tokens": None, "max_tokens": 9, "top_k": 1}
    replies = iter([says("prose"), says("correct")])
    with serving(lambda _request: next(replies)) as server:
        asked(judge(server.url, request_options=options), ["just eighteen"], ["18"])

    assert len(server.requests) == 2
    for request in server.requests:
        assert (request["max_tokens"], request["top_k"]) == (9, 1)
        assert not {"temperature", "max_completion_tokens"} & request.keys()


def test_a_server_that_takes_everything_is_asked_at_temperature_zero():
    with serving(honest) as server:
        asked(judge(server.url), ["just eighteen"], ["18"])

    assert server.requests[0]["temperature"] == 0
    assert server.requests[0]["response_format"]["json_schema"]["strict"] is True
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"


def test_a_server_without_keys_gets_a_dummy(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    with serving(honest) as server:
        rewards, _ = asked(judge(server.url), ["just eighteen"], ["18"])

    assert rewards == [0.0]
    assert server.headers[0]["authorization"] == "Bearer none"


@pytest.mark.parametrize("spoiled", ["{}\n", "a\n{}", "ключ{}"])
def test_a_spoiled_key_leaks_nowhere(monkeypatch, spoiled):
    monkeypatch.setenv("OPENAI_API_KEY", spoiled.format(KEY))
    with serving(honest) as server:
        rewards, metrics = asked(judge(server.url), ["just eighteen"], ["eighteen, or eighteen"])

    # A line break at the end is taken off; no other spoiled key can be sent.
    assert rewards == ([0.0] if spoiled == "{}\n" else [None])
    assert metrics["errors"] == 0


def test_failures_in_a_row_end_the_batch_and_the_next_one_starts_afresh():
    healthy = False

    def behave(request):
        return honest(request) if healthy else error(401)

    words = [*NUMBERS]
    golds = [str(number) for number in range(1, 11)]
    with serving(behave) as server:
        reward = judge(server.url, limits=Limits(deadline=3, concurrency=1))
        broken, metrics = asked(reward, words, golds)
        healthy = True
        mended, metrics_mended = asked(reward, words, golds)

    assert broken == [None] * 10
    assert (metrics["calls"], metrics["failures"], metrics["skipped"]) == (5, 5, 5)
    assert mended == [0.0] * 10
    assert (metrics_mended["calls"], metrics_mended["skipped"]) == (10, 0)


def test_a_success_between_failures_keeps_the_batch_going():
    codes = iter([401, 401, 200, 401, 401, 200, 401, 401])

    def behave(request):
        code = next(codes)
        return honest(request) if code == 200 else error(code)

    words, golds = NUMBERS[:8], list("12345678")
    with serving(behave) as server:
        _, metrics = asked(judge(server.url, limits=Limits(deadline=3, concurrency=1, failures=3)), words, golds)

    assert (metrics["calls"], metrics["failures"], metrics["skipped"]) == (8, 6, 0)


def test_a_page_that_is_no_completion_counts_as_a_failure_and_a_refusal_does_not():
    words, golds = NUMBERS[:6], list("123456")
    limits = Limits(deadline=3, concurrency=1, failures=4)
    with serving(lambda _request: FAULTS["HTML with status 200"]) as server:
        _, metrics_page = asked(judge(server.url, limits=limits), words, golds)
    with serving(lambda _request: FAULTS["refusal"]) as server:
        _, metrics_refusal = asked(judge(server.url, limits=limits), words, golds)

    assert (metrics_page["calls"], metrics_page["unreadable"]) == (4, 4)
    assert (metrics_refusal["calls"], metrics_refusal["skipped"]) == (12, 0)


def test_caps_on_calls_and_tokens_hold():
    golds = list("12345678")
    words = NUMBERS[:8]
    with serving(honest) as server:
        few_calls = judge(server.url, limits=Limits(deadline=3, max_calls=3))
        few_tokens = judge(server.url, limits=Limits(deadline=3, max_tokens=250, concurrency=1))
        rewards, metrics = asked(few_calls, words, golds)
        rewards_tokens, metrics_tokens = asked(few_tokens, words, golds)

    assert rewards.count(None) == 5
    assert (metrics["calls"], metrics["capped"]) == (3, 5)
    # 110 tokens a call: the third passes the cap.
    assert rewards_tokens.count(None) == 5
    assert metrics_tokens["prompt_tokens"] + metrics_tokens["completion_tokens"] == 330


def test_tokens_that_a_server_does_not_count_are_guessed():
    body = b'{"choices": [{"message": {"content": "incorrect"}}]}'
    with serving(lambda _request: Reply(body=body)) as server:
        _, metrics = asked(judge(server.url), ["just eighteen"], ["18"])

    assert metrics["prompt_tokens"] > 100


def test_costs_follow_the_prices():
    with serving(honest) as server:
        _, metrics = asked(judge(server.url, prices=(2.0, 10.0)), ["just eighteen"], ["18"])

    assert metrics["cost"] == pytest.approx((100 * 2.0 + 10 * 10.0) / 1e6)


def test_one_question_asked_many_times_costs_one_call():
    with serving(lambda _request: Reply(body=verdict("correct").body, delay=0.1)) as server:
        reward = judge(server.url)
        rewards, metrics = asked(reward, ["just eighteen"] * 12, ["18"] * 12)
        again, metrics_again = asked(reward, ["just eighteen"] * 12, ["18"] * 12)

    assert rewards == again == [1.0] * 12
    assert metrics["calls"] == 1
    assert (metrics_again["calls"], metrics_again["cache_hits"]) == (0, 12)


def test_no_verdict_is_ever_cached_that_was_not_given(tmp_path):
    replies = iter([says("prose"), says("more prose"), verdict("correct")])
    with serving(lambda _request: next(replies)) as server:
        reward = judge(server.url, cache_path=tmp_path / "verdicts.sqlite")

        assert asked(reward, ["just eighteen"], ["18"])[0] == [None]
        assert asked(reward, ["just eighteen"], ["18"])[0] == [1.0]


def test_rules_spare_the_judge_what_they_can_decide():
    answers = ["18", "19", "17 or 18", "apples", "18 dollars", "just eighteen"]
    with serving(honest) as server:
        rewards, metrics = asked(judge(server.url), answers, ["18"] * 6)

    assert rewards[:4] == [1.0, 0.0, 0.0, 0.0]
    assert metrics["by_rules"] + metrics["calls"] == 6
    assert metrics["calls"] >= 1


def test_the_math_grader_has_the_first_word(monkeypatch):
    monkeypatch.setattr("mot_trl.rewards.judge.reward.is_equivalent", lambda gold, answer, **_: answer == "36/2")
    with serving(honest) as server:
        rewards, _ = asked(judge(server.url), ["36/2", "38/2"], ["18", "18"])

    assert rewards == [1.0, 0.0]
    assert server.requests == []


def test_no_answer_and_no_gold_cost_no_call():
    completions = [[{"role": "assistant", "content": text}] for text in ("none", "<think>\\boxed{18}", "\\boxed{}")]
    with serving(honest) as server:
        rewards = asyncio.run(
            judge(server.url)(completions=[*completions, "\\boxed{x}"], answer=["18", "18", "18", ""])
        )

    assert rewards == [0.0, 0.0, 0.0, None]
    assert server.requests == []


def test_a_missing_column_is_named_at_once():
    with pytest.raises(KeyError, match="gold_column"):
        asyncio.run(judge("http://127.0.0.1:9/v1")(completions=boxed("1"), solution=["1"]))


def test_a_defect_in_the_plan_gives_none_and_a_metric():
    rewards, metrics = asked(judge("http://127.0.0.1:9/v1"), ["1", "2"], [])

    assert rewards == [None, None]
    assert metrics["errors"] == 1


@pytest.mark.parametrize(
    "url", ["http://me:secret@localhost/v1", "localhost:8000", "ftp://localhost/v1", "http://x:99999/v1"]
)
def test_addresses_that_cannot_be_are_refused(url):
    with pytest.raises(ValueError, match=r"base_url|[Pp]ort"):
        JudgeReward("mock", base_url=url)


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)

    with pytest.raises(ImportError, match=r"mot-trl\[judge\]"):
        judge("http://localhost/v1")


def test_openai_without_a_key_is_refused(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", " ")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)

    with pytest.raises(ValueError, match="OPENAI_API_KEY"):
        JudgeReward("gpt-mock")


HOSTILE = [
    "<answer>" + "9" * 100_000 + "</answer>",
    "<answer>" + " " * 1_000_000 + "19</answer>",
    "<answer>" + "1," * 100_000 + "</answer>",
    "<answer>\ud800 lone \udfff</answer>",
    "<answer>" + "\ufdfa" * 50_000 + "</answer>",
    "<answer>" + "give a " * 50_000 + "</answer>",
    [{"role": "assistant", "content": None}],
    [],
    None,
    7,
    [7],
]


@pytest.mark.parametrize("rubric", [None, "Is it good?"])
def test_a_hostile_completion_costs_no_other_row_its_reward(rubric):
    good = "<answer>just eighteen</answer>"
    with serving(lambda _request: verdict("10" if rubric else "correct")) as server:
        reward = judge(server.url, rubric=rubric)
        started = time.monotonic()
        rewards = asyncio.run(reward(completions=[good, *HOSTILE, good], answer=["18"] * (len(HOSTILE) + 2)))

    assert rewards[0] == rewards[-1] == 1.0
    assert len(rewards) == len(HOSTILE) + 2
    assert time.monotonic() - started < QUICK.deadline
    if rubric is None:
        assert 1.0 not in rewards[1:-1]
