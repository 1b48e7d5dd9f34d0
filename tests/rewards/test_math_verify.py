import asyncio
import functools
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hazards_list import HAZARDS

from mot_trl.rewards.math import math_verify as verifier
from mot_trl.rewards.math.math_verify import verify
from mot_trl.sandbox import ProgramRunner

pytest.importorskip("math_verify")

ROOT = Path(__file__).parents[2]
RIGHT, WRONG = (r"\log_2 8", "3"), (r"\log_2 8", "4")
TIMEOUT = 10.0


def judge_both(_=None):
    return [verify(*RIGHT, timeout=TIMEOUT), verify(*WRONG, timeout=TIMEOUT)]


def run_script(body):
    code = "from mot_trl.rewards.math.math_verify import verify\nimport os, sys\n" + body
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=120)
    return done.stdout.splitlines()


def test_verdicts_are_right_and_unreadable_golds_are_none():
    assert judge_both() == [True, False]
    assert verify(r"\frac{", "5", timeout=TIMEOUT) is None


@pytest.mark.slow
def test_many_threads_get_their_own_verdicts():
    pairs = [(rf"\log_2 {2**n}", str(n + n % 2)) for n in range(1, 9)] * 3

    with ThreadPoolExecutor(8) as threads:
        verdicts = list(threads.map(lambda pair: verify(*pair, timeout=TIMEOUT), pairs))

    assert verdicts == [n % 2 == 0 for n in range(1, 9)] * 3


def test_a_running_event_loop_does_not_matter():
    async def in_notebook():
        return judge_both(), await asyncio.to_thread(judge_both)

    assert asyncio.run(in_notebook()) == ([True, False], [True, False])


@pytest.mark.filterwarnings("ignore:This process")
@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_two_processes_of_one_trainer_judge_for_themselves(method):
    judge_both()  # so that a fork inherits a running worker

    with multiprocessing.get_context(method).Pool(2) as processes:
        verdicts = processes.map(judge_both, range(2), chunksize=1)

    assert verdicts == [[True, False]] * 2
    assert judge_both() == [True, False]


@pytest.mark.slow
def test_a_worker_killed_while_it_computes_costs_no_more_than_its_pair():
    verdicts = []
    verify(*RIGHT, timeout=1.0)
    late = threading.Thread(target=lambda: verdicts.append(verify("5", HAZARDS["tower of powers"], timeout=1.0)))
    worker = verifier._RUNNERS[1.0].processes()[0]

    late.start()
    time.sleep(0.3)
    os.kill(worker, signal.SIGKILL)
    late.join(30)

    assert verdicts == [False]
    assert verify(*RIGHT, timeout=1.0) is True


@pytest.mark.parametrize("name", ["tower of powers", "factorial of ten million", "sum to a billion"])
@pytest.mark.slow
def test_a_late_answer_is_wrong_and_the_next_is_judged(name):
    verify(*RIGHT, timeout=0.5)
    start = time.perf_counter()

    late = verify("5", HAZARDS[name], timeout=0.5)

    assert late is False
    assert time.perf_counter() - start < 4.0  # the sandbox waits up to five times as long where processors are busy
    assert judge_both() == [True, False]


def test_a_memory_bomb_ends_its_own_process_alone():
    assert verify("5", "2^{2^{40}}", timeout=1.0) is False
    assert judge_both() == [True, False]


@pytest.mark.filterwarnings("ignore:The sandbox runs with fewer layers")
def test_a_machine_without_isolation_judges_too(monkeypatch):
    monkeypatch.setattr(verifier, "_RUNNERS", {})
    monkeypatch.setattr(verifier, "ProgramRunner", functools.partial(ProgramRunner, layers=["rlimits"]))

    assert judge_both() == [True, False]
    verifier._RUNNERS[TIMEOUT].close()


def test_descriptors_beyond_select_do_not_matter():
    body = (
        "import resource\nsoft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "if hard != resource.RLIM_INFINITY and hard < 2000: print([True, False]); sys.exit()\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (2000, hard))\nfiles = [open(os.devnull) for _ in range(1100)]\n"
        "print([verify(r'\\log_2 8', '3', timeout=9.0), verify(r'\\log_2 8', '4', timeout=9.0)])\n"
    )

    assert run_script(body) == ["[True, False]"]


def test_a_path_without_math_verify_names_the_extra():
    body = (
        "import importlib.util\nimportlib.util.find_spec = lambda name: None\n"
        "from mot_trl.rewards.math import MathReward, is_equivalent\nfrom mot_trl.tasks import gsm8k\n"
        "print(is_equivalent('18', '$18.00'), gsm8k.correct_answer(completions=['#### 5'], answer=['5']))\n"
        "calls = [lambda: is_equivalent(r'\\log_2 8', '3'), lambda: MathReward()(completions=['5'], answer=['5'])]\n"
        "for call in calls:\n    try: print(call())\n    except ImportError as error: print(error)\n"
    )

    lines = run_script(body)

    assert lines[0] == "True [1.0]"
    assert len(lines) == 3
    assert all('"math-verify<0.10,>=0.9"' in line for line in lines[1:])


def test_the_worker_sees_neither_secrets_nor_the_working_directory(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(verifier, "_RUNNERS", {})
    (tmp_path / "math_verify.py").write_text("raise SystemExit('shadowed')\n")

    assert judge_both() == [True, False]
    runner = verifier._RUNNERS[TIMEOUT]
    for pid in runner.processes():
        environment = Path(f"/proc/{pid}/environ")
        assert not environment.exists() or b"secret" not in environment.read_bytes()
    runner.close()


def test_importing_the_grader_is_light():
    heavy = "('torch', 'sympy', 'transformers', 'datasets', 'numpy')"
    code = (
        "import sys; from mot_trl.rewards.math import MathReward; "
        f"print([name for name in {heavy} if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert json.loads(done.stdout) == []


def test_the_old_path_still_serves_the_reward():
    code = "from mot_trl.grading.maths import MathReward; print(MathReward.__module__)"

    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, capture_output=True, text=True)

    assert done.stdout == "mot_trl.rewards.math.equivalence\n"
