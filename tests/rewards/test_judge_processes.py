"""One judge in several event loops, threads and processes, and one cache file for all of them."""

import asyncio
import gc
import multiprocessing
import os
import pickle
import sqlite3
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from mock_judge_server import Reply, gullible, honest, serving, verdict

from mot_trl.rewards.judge import JudgeReward, Limits
from mot_trl.rewards.judge.cache import VerdictCache

WORDS = [f"just {word}" for word in ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")]


def judge(url: str, **settings) -> JudgeReward:
    return JudgeReward("mock", base_url=url, canary_every=None, limits=Limits(deadline=10), **settings)


async def ask(reward: JudgeReward, first: int = 0, last: int = 10) -> list[float | None]:
    golds = [str(number + 1) for number in range(first, last)]
    return await reward(completions=[f"<answer>{word}</answer>" for word in WORDS[first:last]], answer=golds)


def test_two_event_loops_one_after_the_other_and_at_once(recwarn, caplog):
    with serving(gullible) as server:
        reward = judge(server.url)
        one_after_the_other = [asyncio.run(ask(reward, 0, 2)), asyncio.run(ask(reward, 2, 4))]
        with ThreadPoolExecutor(2) as threads:
            at_once = [threads.submit(asyncio.run, ask(reward, 4 + i, 7 + i)) for i in range(2)]
            results = [future.result(timeout=20) for future in at_once]
        gc.collect()

    assert one_after_the_other == [[1.0] * 2] * 2
    assert results == [[1.0] * 3] * 2
    assert "never retrieved" not in caplog.text


def test_a_loop_in_a_daemon_thread_as_trl_runs_it():
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    with serving(gullible) as server:
        reward = judge(server.url)

        rewards = asyncio.run_coroutine_threadsafe(ask(reward), loop).result(timeout=20)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5)
    loop.close()
    assert rewards == [1.0] * 10


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_asks_on_connections_of_its_own():
    with serving(gullible) as server:
        reward = judge(server.url)
        before = asyncio.run(ask(reward, 0, 3))
        queue = multiprocessing.get_context("fork").SimpleQueue()
        child = multiprocessing.get_context("fork").Process(
            target=lambda: queue.put(asyncio.run(ask(reward, 3, 6))), daemon=True
        )
        child.start()
        child.join(20)
        assert child.exitcode == 0
        after = asyncio.run(ask(reward, 6, 10))

    assert (before, queue.get(), after) == ([1.0] * 3, [1.0] * 3, [1.0] * 4)


def test_a_pickled_judge_has_no_key_and_works(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-0123456789")
    with serving(gullible) as server:
        reward = judge(server.url)
        asyncio.run(ask(reward))

        pickled = pickle.dumps(reward)
        copy = pickle.loads(pickled)

        assert asyncio.run(ask(copy)) == [1.0] * 10
    assert b"sk-secret" not in pickled
    assert "sk-secret" not in repr(reward) + repr(vars(reward))
    assert server.headers[-1]["authorization"] == "Bearer sk-secret-0123456789"


def test_trl_knows_it_for_an_async_reward_named_judge():
    reward = judge("http://localhost/v1")

    assert asyncio.iscoroutinefunction(reward.__call__)
    assert reward.__name__ == "judge"


def test_importing_the_judge_is_light():
    code = """
        import sys, mot_trl.rewards.judge.reward
        print([name for name in ("openai", "torch", "transformers", "trl", "datasets") if name in sys.modules])
    """

    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout.strip() == "[]"


TRAINER = """
    import asyncio, sys
    from mot_trl.rewards.judge import JudgeReward, Limits
    url, path, first = sys.argv[1], sys.argv[2], int(sys.argv[3])
    judge = JudgeReward("mock", base_url=url, cache_path=path, canary_every=None, limits=Limits(deadline=20))
    async def main():
        rewards = []
        for start in range(0, 60, 6):
            numbers = [(first + number) % 60 + 20 for number in range(start, start + 6)]
            golds = [f"{number} trees in a row" for number in numbers]
            answers = [f"<answer>a row of {number} trees</answer>" for number in numbers]
            rewards += await judge(completions=answers, answer=golds)
        return rewards
    rewards = asyncio.run(main())
    assert rewards == [1.0] * 60, rewards
    print(judge.totals["calls"], judge.totals["cache_hits"], judge.totals["cache_errors"])
"""


@pytest.mark.slow
def test_two_training_processes_share_one_cache_file(tmp_path):
    path = tmp_path / "deep" / "verdicts.sqlite"
    with serving(gullible) as server:
        command = [sys.executable, "-c", textwrap.dedent(TRAINER), server.url, str(path)]
        pair = [subprocess.Popen([*command, first], stdout=subprocess.PIPE, text=True) for first in ("0", "30")]
        counts = [[int(float(word)) for word in process.communicate(timeout=60)[0].split()] for process in pair]
        third = subprocess.run([*command, "7"], stdout=subprocess.PIPE, text=True, timeout=60, check=True)

    for calls, hits, errors in counts:
        assert calls + hits == 60
        assert errors == 0
    assert third.stdout.split() == ["0", "60", "0"]
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM verdicts").fetchone() == (60,)


def test_a_later_run_finds_the_verdicts_of_an_earlier_one(tmp_path):
    path = tmp_path / "verdicts.sqlite"
    with serving(honest) as server:
        first = asyncio.run(ask(judge(server.url, cache_path=path)))
        calls = len(server.requests)
        second = asyncio.run(ask(judge(server.url, cache_path=path)))

    assert first == second == [0.0] * 10
    assert calls == len(server.requests) == 10


@pytest.mark.parametrize("spoil", ["text", "directory", "unwritable", "locked", "foreign"])
def test_a_cache_that_cannot_be_used_costs_hits_and_nothing_else(tmp_path, spoil):
    path = tmp_path / "verdicts.sqlite"
    lock = None
    if spoil == "text":
        path.write_text("this is no data base " * 100)
    if spoil == "directory":
        path.mkdir()
    if spoil == "unwritable":
        (tmp_path / "file").write_text("")
        path = tmp_path / "file" / "verdicts.sqlite"
    if spoil == "locked":
        lock = sqlite3.connect(path)
        lock.execute("BEGIN EXCLUSIVE")
    if spoil == "foreign":
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE verdicts (something TEXT)")
    with serving(gullible) as server:
        reward = judge(server.url, cache_path=path)
        reward.cache.lock_seconds = 0.1

        rewards = asyncio.run(ask(reward))
    if lock is not None:
        lock.close()

    assert rewards == [1.0] * 10
    assert reward.totals["cache_errors"] >= 1
    assert reward.totals["errors"] == 0


def test_what_is_no_verdict_in_a_cache_file_is_not_believed(tmp_path):
    path = tmp_path / "verdicts.sqlite"
    cache = VerdictCache(path)
    cache.put({"a": 1.0, "b": 0.5})
    with sqlite3.connect(path) as connection:
        connection.executemany("INSERT INTO verdicts VALUES (?, ?)", [("c", 7.0), ("d", "correct"), ("e", -1.0)])

    assert VerdictCache(path).get("abcde") == {"a": 1.0, "b": 0.5}


def test_memory_holds_the_latest_entries_only():
    cache = VerdictCache(max_entries=3)

    cache.put({str(number): 1.0 for number in range(10)})

    assert sorted(cache.get(map(str, range(10)))) == ["7", "8", "9"]


def test_a_key_depends_on_model_and_wording(tmp_path):
    path = tmp_path / "verdicts.sqlite"
    with serving(lambda _request: Reply(body=verdict("correct").body)) as server:
        asyncio.run(ask(judge(server.url, cache_path=path), 0, 1))
        other = JudgeReward("another", base_url=server.url, cache_path=path, canary_every=None)
        asyncio.run(ask(other, 0, 1))

    assert len(server.requests) == 2
