import asyncio
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

from mot_trl.rewards.math import math_verify as verifier
from mot_trl.rewards.math.math_verify import verify

pytest.importorskip("math_verify")

ROOT = Path(__file__).parents[2]
RIGHT, WRONG = (r"\log_2 8", "3"), (r"\log_2 8", "4")
needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="lists processes by /proc")


def children(pid):
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def all_gone(pids, seconds=5.0):
    deadline = time.monotonic() + seconds
    while any(map(is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(map(is_alive, pids))


def run_script(body, **options):
    code = "from mot_trl.rewards.math.math_verify import verify, _POOL\nimport os, sys, time, threading\n" + body
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True, **options)


def judge_both(_=None):
    return [verify(*RIGHT, timeout=10.0), verify(*WRONG, timeout=10.0)]


def test_verdicts_are_right_and_unreadable_golds_are_none():
    assert judge_both() == [True, False]
    assert verify(r"\frac{", "5", timeout=10.0) is None


def test_many_threads_get_their_own_verdicts():
    pairs = [(rf"\log_2 {2**n}", str(n + n % 2)) for n in range(1, 9)] * 3

    with ThreadPoolExecutor(8) as threads:
        verdicts = list(threads.map(lambda pair: verify(*pair, timeout=10.0), pairs))

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


@needs_proc
@pytest.mark.parametrize("who", ["worker", "its child"])
def test_what_is_killed_from_outside_is_restarted(who):
    judge_both()
    worker = verifier._POOL.idle[-1].process.pid
    victim = worker if who == "worker" else children(worker)[0]

    os.kill(victim, signal.SIGKILL)
    all_gone([victim])

    # A pair whose process was killed under it is wrong at worst, and the next is judged again.
    verify(*RIGHT, timeout=10.0)
    assert judge_both() == [True, False]


@needs_proc
def test_a_worker_killed_while_it_computes_costs_no_more_than_its_pair():
    verdicts = []
    judge_both()
    thread = threading.Thread(target=lambda: verdicts.append(verify("5", "9^{9^{9^9}}", timeout=1.0)))
    worker = verifier._POOL.idle[-1].process.pid

    thread.start()
    time.sleep(0.3)
    os.kill(worker, signal.SIGKILL)
    thread.join(10)

    assert verdicts == [False]
    assert judge_both() == [True, False]


@needs_proc
@pytest.mark.slow
@pytest.mark.parametrize("end", ["returns", "raises", "SIGTERM", "SIGKILL", "SIGKILL while computing"])
def test_nothing_is_left_when_the_trainer_ends(end):
    body = (
        "verify('5', '5', timeout=9.0)\nprint(_POOL.idle[0].process.pid, flush=True)\n"
        f"end = {end!r}\nsys.stdin.readline()\nif end == 'raises': raise SystemExit(3)\n"
        "late = threading.Thread(target=verify, args=('5', '9^{9^{9^9}}'), kwargs={'timeout': 60.0})\n"
        "if 'computing' in end: late.start()\n"
        "if 'computing' in end: time.sleep(0.3)\nprint('now', flush=True)\nif 'SIG' in end: time.sleep(60)\n"
    )
    process = run_script(body, stdin=subprocess.PIPE)
    worker = int(process.stdout.readline())
    family = [worker, *children(worker)]
    assert len(family) == 2
    process.stdin.write("\n")
    process.stdin.flush()

    if end.startswith("SIG"):
        assert process.stdout.readline() == "now\n"
        process.send_signal(getattr(signal, end.split()[0]))
    start = time.monotonic()
    process.wait(10)

    assert time.monotonic() - start < 3
    assert all_gone(family)


def test_descriptors_beyond_select_do_not_matter():
    body = (
        "import resource\nsoft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "if hard != resource.RLIM_INFINITY and hard < 2000: print([True, False]); sys.exit()\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (2000, hard))\nfiles = [open(os.devnull) for _ in range(1100)]\n"
        "print([verify(r'\\log_2 8', '3', timeout=9.0), verify(r'\\log_2 8', '4', timeout=9.0)])\n"
    )

    assert run_script(body).communicate(timeout=60)[0] == "[True, False]\n"


def test_a_path_without_math_verify_names_the_extra():
    body = (
        "class Absent:\n    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'math_verify': raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "import importlib.util\nimportlib.util.find_spec = lambda name: None\n"
        "from mot_trl.rewards.math.equivalence import MathReward, is_equivalent\nfrom mot_trl.tasks import gsm8k\n"
        "print(is_equivalent('18', '$18.00'), gsm8k.correct_answer(completions=['#### 5'], answer=['5']))\n"
        "calls = [lambda: is_equivalent(r'\\log_2 8', '3'), lambda: MathReward()(completions=['5'], answer=['5'])]\n"
        "for call in calls:\n    try: print(call())\n    except ImportError as error: print(error)\n"
    )

    lines = run_script(body).communicate(timeout=60)[0].splitlines()

    assert lines[0] == "True [1.0]"
    assert len(lines) == 3
    assert all('pip install "mot-trl[math]"' in line for line in lines[1:])


def test_the_worker_sees_neither_secrets_nor_the_working_directory(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "math_verify.py").write_text("raise SystemExit('shadowed')\n")
    worker = verifier._Worker()

    try:
        assert worker.ask([*RIGHT, 10.0], 20.0) is True
        environment = Path(f"/proc/{worker.process.pid}/environ")
        assert not environment.exists() or b"secret" not in environment.read_bytes()
    finally:
        worker.close()


def test_importing_the_grader_is_light():
    heavy = "('torch', 'sympy', 'transformers', 'datasets', 'numpy')"
    code = f"import sys, mot_trl.rewards.math.equivalence; print([name for name in {heavy} if name in sys.modules])"

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert json.loads(done.stdout) == []
