"""The runner gives defined results whatever happens, passes honest programs, and leaves nothing behind."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import hostile_suite
import pytest

from mot_trl.sandbox import Job, ProgramRunner, Score
from mot_trl.sandbox.config import LAYERS

ADD = "def add(a, b):\n    return a + b\n"
ADD_TESTS = ("assert add(1, 2) == 3", "assert add('x', 'y') == 'xy'")
ADD_NAMES = (("add", "add"),)

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the layers are Linux's"),
    pytest.mark.filterwarnings("ignore:The sandbox runs with fewer layers"),
]


@pytest.fixture(scope="module")
def runner():
    with ProgramRunner(workers=2, timeout=2.0, memory_mb=256) as shared:
        yield shared


def run_add(runner, program):
    return runner.run(Job(program, ADD_TESTS, ADD_NAMES))


def wait_until(condition, *, seconds=10.0):
    """Whether a condition came true, even if only for a moment."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def children_of(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


HONEST = {
    "mutates_its_argument": (
        "def push(values):\n    values.append(4)",
        ("values = [1]\npush(values)\nassert values == [1, 4]",),
        ["push"],
    ),
    "mutates_its_keywords": (
        "def push(values, seen):\n    values.append(4)\n    seen.add(1)",
        ("values, seen = [1], set()\npush(values=values, seen=seen)\nassert (values, seen) == ([1, 4], {1})",),
        ["push"],
    ),
    "keeps_state_between_calls": (
        "count = 0\n\ndef step():\n    global count\n    count += 1\n    return count",
        ("assert step() == 1", "assert step() == 2"),
        ["step"],
    ),
    "has_a_class_of_its_own": (
        "class Pair:\n    def __init__(self, a, b):\n        self.a, self.b = a, b\n\n"
        "def total(pairs):\n    return sum(p.a + p.b for p in pairs)",
        ("assert total([Pair(1, 2), Pair(3, 4)]) == 10", "p = Pair(1, 2)\np.a = 5\nassert p.a == 5"),
        ["Pair", "total"],
    ),
    "answers_with_every_type": (
        "def f():\n    return [None, True, 1 << 70, -0.5, float('inf'), 1j, 'ü\\ud800', b'x', (1, (2,)), {1}, "
        "frozenset([2]), {(1, 2): [3]}, int]",
        (
            "assert f() == [None, True, 1 << 70, -0.5, float('inf'), 1j, 'ü\\ud800', b'x', (1, (2,)), {1}, "
            "frozenset([2]), {(1, 2): [3]}, int]",
            "assert [type(x) for x in f()[8:11]] == [tuple, set, frozenset]",
        ),
        ["f"],
    ),
    "uses_threads": (
        "from concurrent.futures import ThreadPoolExecutor\n\ndef f(xs):\n"
        "    with ThreadPoolExecutor(4) as pool:\n        return list(pool.map(lambda x: x * x, xs))",
        ("assert f([1, 2, 3]) == [1, 4, 9]",),
        ["f"],
    ),
    "imports_what_is_not_preloaded": (
        "import difflib, sqlite3, zoneinfo, unicodedata\n\ndef f():\n"
        "    return sqlite3.connect(':memory:').execute('select 6 * 7').fetchone()[0]",
        ("assert f() == 42",),
        ["f"],
    ),
    "prints_and_warns": (
        "import sys, warnings, logging\nprint('x' * 65536)\nprint('no', file=sys.stderr)\nwarnings.warn('hm')\n"
        "logging.warning('hm')\n\ndef f():\n    print('more')\n    return 1",
        ("assert f() == 1",),
        ["f"],
    ),
    "uses_ctypes_and_random": (
        "import ctypes, random, uuid, secrets, tempfile, os\n\ndef f():\n"
        "    return len(secrets.token_bytes(4)) + ctypes.c_int(1).value + (os.getpid() > 0)",
        ("assert f() == 6",),
        ["f"],
    ),
    "has_dataclasses_and_enums": (
        "from dataclasses import dataclass\nfrom enum import IntEnum\n\nclass Color(IntEnum):\n    RED = 1\n\n"
        "@dataclass(order=True)\nclass P:\n    x: 'int'\n\ndef f():\n    return max([P(1), P(2)]).x, Color.RED",
        ("assert f() == (2, 1)",),
        ["f"],
    ),
    "recurses_deeply": (
        "import sys\nsys.setrecursionlimit(50_000)\n\ndef f(n):\n    return n and 1 + f(n - 1)",
        ("assert f(20_000) == 20_000",),
        ["f"],
    ),
    "answers_a_megabyte": ("def f():\n    return 'x' * 1_000_000", ("assert len(f()) == 1_000_000",), ["f"]),
    "answers_64_kilobytes": ("def f():\n    return list(range(10_000))", ("assert f()[-1] == 9_999",), ["f"]),
    "shadows_a_builtin": ("def sum(a, b):\n    return a * b", ("assert sum(3, 4) == 12",), ["sum"]),
    "has_a_main_block": (
        "def f():\n    return __name__ != '__main__'\n\nif __name__ == '__main__':\n    input()",
        ("assert f() is True",),
        ["f"],
    ),
    "answers_with_an_object_for_truth": (
        "import re\n\ndef f(x):\n    return re.match('a', x)",
        ("assert f('abc')", "assert not f('b')"),
        ["f"],
    ),
    "raises_as_it_should": (
        "def f():\n    raise ValueError('no')",
        ("try:\n    f()\nexcept ValueError as error:\n    said = str(error)\nassert said == 'no'",),
        ["f"],
    ),
    "handles_signals": (
        "import signal, time\nseen = []\nsignal.signal(signal.SIGALRM, lambda *_: seen.append(1))\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.01)\ntime.sleep(0.1)\n\ndef f():\n    return seen",
        ("assert f() == [1]",),
        ["f"],
    ),
}


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_program_passes(runner, name):
    program, tests, names = HONEST[name]

    result = runner.run(Job(program, tests, tuple((n, n) for n in names)))

    assert result.passed, result


def test_lists_and_trees_cross_both_ways(runner):
    prelude = (
        "class ListNode:\n    def __init__(self, val=0, next=None):\n        self.val, self.next = val, next\n"
        "class TreeNode:\n    def __init__(self, val=0, left=None, right=None):\n"
        "        self.val, self.left, self.right = val, left, right\n"
    )
    program = (
        "def reverse(node):\n    found = None\n"
        "    while node:\n        found, node = ListNode(node.val, found), node.next\n"
        "    return found\n\ndef mirror(t):\n    return t and TreeNode(t.val, mirror(t.right), mirror(t.left))\n"
    )
    tests = (
        "r = reverse(ListNode(1, ListNode(2)))\nassert (r.val, r.next.val, r.next.next) == (2, 1, None)",
        "m = mirror(TreeNode(1, TreeNode(None)))\nassert (m.left, m.right.val, type(m)) == (None, None, TreeNode)",
        "assert reverse(None) is None",
    )

    result = runner.run(Job(program, tests, (("reverse", "reverse"), ("mirror", "mirror")), prelude=prelude))

    assert result.passed, result


def test_a_program_with_other_classes_for_trees_fails_rather_than_breaks(runner):
    program = "class TreeNode:\n    def __init__(self):\n        raise OSError\n\ndef f(t):\n    return t\n"
    prelude = (
        "class TreeNode:\n    def __init__(self, val=0):\n        self.val, self.left, self.right = val, None, None\n"
    )

    result = runner.run(Job(program, ("assert f(TreeNode(1)).val == 1",), (("f", "f"),), prelude=prelude))

    assert result.status == "failed"


def test_each_test_has_its_verdict_and_its_reason(runner):
    program = "def f(x):\n    if x == 2:\n        raise KeyError('two')\n    return x"
    tests = ("assert f(1) == 1", "assert f(2) == 2", "assert f(3) == 3")

    result = runner.run(Job(program, tests, (("f", "f"),)))

    assert (result.status, result.verdicts, result.compiled, result.ran) == (
        "failed",
        (True, False, True),
        True,
        False,
    )
    assert "KeyError" in result.detail


@pytest.mark.parametrize(
    ("program", "status", "compiled", "ran"),
    [
        (ADD, "passed", True, True),
        ("def add(a, b):\n    return a", "failed", True, True),
        ("def add(a, b):", "invalid", False, False),
        ("raise ValueError", "crashed", True, False),
        ("x = '\0'", "invalid", False, False),
        ("", "crashed", True, False),
    ],
)
def test_statuses(runner, program, status, compiled, ran):
    result = run_add(runner, program)

    assert (result.status, result.compiled, result.ran) == (status, compiled, ran)


def test_tests_that_cannot_be_run_are_unsupported_not_failed(runner):
    broken = runner.run(Job(ADD, ("assert add(1, 2 == 3",), ADD_NAMES))
    nameless = runner.run(Job(ADD, ("assert add(1, 2) == undefined",), ADD_NAMES))
    unsendable = runner.run(Job(ADD, ("import threading\nassert add(1, threading.Lock()) == 1",), ADD_NAMES))

    assert (broken.judged, nameless.judged, unsendable.judged) == (False, False, False)


def test_a_program_cannot_make_its_tests_look_broken(runner):
    program = "def f(x):\n    raise NameError('x')"
    tests = ("y = f(1)\nassert y == 1", "assert y == 1")

    result = runner.run(Job(program, tests, (("f", "f"),)))

    assert (result.status, result.verdicts) == ("failed", (False, False))


def test_too_long_a_program_overflows(runner):
    for program in ("#" * (2 << 20), "#" + "\N{GRINNING FACE}" * 900_000):
        result = run_add(runner, program)

        assert (result.status, result.verdicts) == ("overflow", (False, False))


def test_time_in_the_queue_does_not_count(runner):
    slow = Job("import time\n\ndef f():\n    time.sleep(0.3)\n    return 1", ("assert f() == 1",), (("f", "f"),))

    results = runner.run_many([slow] * 16)  # two at a time: 2.4 seconds in all, over the limit of 2

    assert {result.status for result in results} == {"passed"}
    assert all(0.1 < result.seconds < 2 for result in results)


@pytest.mark.parametrize(("naps", "status"), [(0.4, "passed"), (4.0, "timeout")])
def test_one_test_may_have_less_time_than_all_of_them(naps, status):
    program = f"import time\n\ndef f():\n    time.sleep({naps})\n    return 1"

    with ProgramRunner(workers=1, timeout=30.0, test_timeout=1.0) as runner:
        result = runner.run(Job(program, ("assert f() == 1",) * 4, (("f", "f"),)))

    assert (result.status, result.passed) == (status, all(result.verdicts))


@pytest.mark.slow
def test_two_thousand_jobs_at_once_keep_their_order(runner):
    jobs = [Job(f"def f():\n    return {n}", (f"assert f() == {n - n % 2}",), (("f", "f"),)) for n in range(2_000)]

    results = runner.run_many(jobs)

    assert [result.passed for result in results] == [n % 2 == 0 for n in range(2_000)]


def test_many_threads_may_share_a_runner(runner):
    found = []
    threads = [threading.Thread(target=lambda: found.append(run_add(runner, ADD).status)) for _ in range(20)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == ["passed"] * 20


@pytest.mark.parametrize("victim", ["supervisor", "zygote", "program"])
@pytest.mark.slow
def test_a_killed_process_loses_nothing(victim):
    with ProgramRunner(workers=1, timeout=5.0) as runner:
        assert run_add(runner, ADD).passed
        supervisor = runner.processes()[0]
        zygote = children_of(supervisor)[0]
        slow = Job("import time\n\ndef f():\n    time.sleep(1)\n    return 1", ("assert f() == 1",), (("f", "f"),))
        results = []
        thread = threading.Thread(target=lambda: results.extend(runner.run_many([slow] * 3)))
        thread.start()
        time.sleep(0.5)
        program = children_of(zygote)[-1]
        os.kill({"supervisor": supervisor, "zygote": zygote, "program": program}[victim], signal.SIGKILL)
        thread.join()

        expected = ["crashed", "passed", "passed"] if victim == "program" else ["passed"] * 3
        assert [result.status for result in results] == expected
        assert run_add(runner, ADD).passed
    assert wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in (supervisor, zygote, program)))


def test_a_process_that_dies_before_it_has_a_program_loses_nothing():
    with ProgramRunner(workers=1) as runner:
        assert runner.layers()
        zygote = children_of(runner.processes()[0])[0]
        assert wait_until(lambda: children_of(zygote))
        waiting = children_of(zygote)[0]
        time.sleep(0.1)
        os.kill(waiting, signal.SIGKILL)
        assert wait_until(lambda: ") Z " in Path(f"/proc/{waiting}/stat").read_text())

        assert [run_add(runner, ADD).status for _ in range(3)] == ["passed"] * 3


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give programs another user's id")
def test_a_program_shares_no_user_with_the_one_that_may_still_be_dying():
    jobs = [Job("import os\n\ndef f():\n    raise OSError(os.getuid())", ("f()",), (("f", "f"),))] * 3

    with ProgramRunner(workers=1) as runner:
        users = {result.detail for result in runner.run_many(jobs)}

    assert len(users) == 3


def test_programs_draw_different_random_numbers(runner):
    jobs = [
        Job("import random\nx = random.random()\n\ndef f():\n    raise ValueError(x)", ("f()",), (("f", "f"),))
    ] * 4

    assert len({result.detail for result in runner.run_many(jobs)}) == 4


SCRIPT = """
import os, sys, time
from mot_trl.sandbox import Job, ProgramRunner
runner = ProgramRunner(workers=2, timeout={timeout})
hang = Job("while True: pass", ("assert True",), ())
try:
    print("ready", flush=True)
    runner.run_many([hang] * 6)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    sys.exit(3)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_a_trainer_that_is_stopped_leaves_nothing_behind(how):
    timeout = 30 + how / 1000
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", SCRIPT.format(timeout=timeout)],
        stdout=subprocess.PIPE,
        cwd=root,
        text=True,
        start_new_session=True,
    )
    mark = f'"timeout": {timeout}'
    assert process.stdout.readline() == "ready\n"
    assert wait_until(lambda: len(hostile_suite.processes_with(mark)) >= 6, seconds=60), (
        "two workers of three processes"
    )

    os.killpg(process.pid, how)  # as a terminal does on Ctrl-C: to the whole group
    output = process.communicate(timeout=20)[0]

    assert ("interrupted" in output) == (how == signal.SIGINT)
    assert wait_until(lambda: not hostile_suite.processes_with(mark))


def test_a_full_disk_and_a_missing_shm_do_not_matter(tmp_path):
    code = (
        "import resource, tempfile; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0));"
        "from mot_trl.sandbox import Job, ProgramRunner;"
        f"print(ProgramRunner(workers=1).run(Job({ADD!r}, {ADD_TESTS!r}, {ADD_NAMES!r})).status)"
    )
    needed = [str(Path(place).absolute()) for place in (sys.executable, sys.base_prefix, Path.cwd())]
    places = [place for place in ("/dev/shm", "/tmp") if not any(path.startswith(f"{place}/") for path in needed)]
    hide = "".join(f"mount -t tmpfs -o size=4k,ro none {place} && " for place in places)
    command = ["unshare", "-m", "sh", "-c", hide + 'exec "$@"', "sh"] if os.geteuid() == 0 else []

    done = subprocess.run(
        [*command, sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, cwd=Path.cwd()
    )

    assert done.stdout.strip() == "passed", done.stderr[-500:]


def test_a_fork_of_the_trainer_gets_processes_of_its_own(runner):
    assert run_add(runner, ADD).passed
    before = runner.processes()
    reader, writer = os.pipe()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        child = os.fork()
    if child == 0:
        status = run_add(runner, ADD).status
        os.write(writer, status.encode() + (b"" if set(runner.processes()) & set(before) else b" apart"))
        runner.close()
        os._exit(0)
    os.waitpid(child, 0)

    assert os.read(reader, 100) == b"passed apart"
    assert runner.processes() == before
    assert run_add(runner, ADD).passed


def test_a_runner_can_be_pickled_closed_and_used_again(runner):
    copy = pickle.loads(pickle.dumps(runner))

    with copy:
        assert run_add(copy, ADD).passed
    assert copy.processes() == []
    assert run_add(copy, ADD).passed
    copy.close()


def test_trusted_functions_score_untrusted_data(runner):
    with ProgramRunner(workers=1, timeout=1.0, preload=("json", "ast")) as scorer:
        parsed = scorer.score("ast:literal_eval", "[(1, 2), {3}]")
        refused = scorer.score("ast:literal_eval", "__import__('os')")
        hung, sane = scorer.run_many([Score("builtins:eval", ("9**9**9",)), Score("builtins:eval", ("1 + 1",))])
        unsendable = scorer.run(Score("ast:literal_eval", (object(),)))

    assert (parsed.status, parsed.value) == ("passed", [(1, 2), {3}])
    assert refused.status == "crashed"
    assert (hung.status, sane.value) == ("timeout", 2)
    assert not unsendable.judged


@pytest.mark.parametrize("layer", LAYERS)
def test_any_layer_may_be_missing(runner, layer):
    lacks = {name for name, reason in runner.layers().items() if reason}
    need_it = {"namespaces": {"pids", "root"}, "no_new_privs": {"landlock", "seccomp"}}.get(layer, set())

    with ProgramRunner(workers=1, layers=set(LAYERS) - {layer}, allow_weak_isolation=True) as weaker:
        missing = {name for name, reason in weaker.layers().items() if reason}
        status = run_add(weaker, ADD).status

    assert status == "passed"
    assert missing == {layer, *need_it, *lacks}


def test_strict_isolation_refuses_to_run_with_less():
    with pytest.raises(RuntimeError, match="seccomp"):
        ProgramRunner(workers=1, isolation="strict", layers=["rlimits", "landlock", "no_new_privs"]).run(
            Job(ADD, ADD_TESTS, ADD_NAMES)
        )


def test_weak_isolation_must_be_asked_for():
    with pytest.raises(RuntimeError, match="allow_weak_isolation"):
        ProgramRunner(workers=1, layers=["rlimits"]).layers()
    with (
        pytest.warns(UserWarning, match="missing"),
        ProgramRunner(workers=1, layers=["rlimits"], allow_weak_isolation=True) as weak,
    ):
        assert run_add(weak, ADD).passed


@pytest.mark.parametrize(
    "options", [{"workers": 0}, {"timeout": 0}, {"test_timeout": -1}, {"memory_mb": -1}, {"isolation": "none"}]
)
def test_nonsense_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        ProgramRunner(**options)


def test_a_module_that_cannot_be_preloaded_is_named():
    with pytest.raises(RuntimeError, match="no_such_module"):
        ProgramRunner(workers=1, preload=("no_such_module",)).layers()


def test_modules_outside_the_interpreters_own_folders_can_be_preloaded(tmp_path, monkeypatch):
    (tmp_path / "my_scorers.py").write_text("def double(number):\n    return 2 * number\n")
    (tmp_path / "calendar.py").write_text("raise SystemExit('hides the standard library')\n")
    monkeypatch.syspath_prepend(tmp_path)

    with ProgramRunner(workers=1, preload=("my_scorers",)) as scorer:
        assert scorer.score("my_scorers:double", 4).value == 8
