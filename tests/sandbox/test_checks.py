"""Tests that test something are told from those that do not, and the latter are never passed."""

import sys

import pytest

from mot_trl.sandbox import Job, ProgramRunner, checks

CHECKS = [
    "assert f(1) == 2",
    "x = f(1)\nassert x == 2",
    "assert f(1) == f(2)",
    "assert not f(1)",
    "assert sorted(map(f, [1])) == [2]",
    "assert all(f(x) == x for x in [1])",
    "assert (y := f(1)) and y == 2",
    "r: int = f(1)\nassert r",
    "g = f\nassert g(1) == 2",
    "for a in [1, 2]:\n    assert f(a) == a",
    "while True:\n    assert f(1)\n    break",
    "with open('x') as file:\n    assert f(file) == 1",
    "try:\n    f(-1)\n    assert False\nexcept ValueError:\n    pass",
    "try:\n    f(-1)\nexcept ValueError:\n    pass\nelse:\n    raise AssertionError",
    "raised = False\ntry:\n    f(-1)\nexcept ValueError:\n    raised = True\nassert raised",
    "ok = True\nfor a, b in [(1, 2)]:\n    if f(a) != b:\n        ok = False\nassert ok",
    "if f(1) != 2:\n    raise AssertionError",
    "match f(1):\n    case 2:\n        pass\n    case _:\n        raise AssertionError",
    "match 1:\n    case x:\n        assert f(x) == 2",
    "import pytest\nwith pytest.raises(ValueError):\n    f(1)",
    "import numpy as np\nnp.testing.assert_allclose(f(1), 2)",
    "def verify(got, want):\n    assert got == want\nverify(f(1), 2)",
    "def check(candidate):\n    assert candidate(1) == 2\ncheck(f)",
    "x = [1]\nf(x)\nassert x == [2]",
    "seen = []\nseen.append(f(1))\nassert seen == [2]",
    "from unittest import *\nclass T(TestCase):\n    def g(self):\n        self.assertTrue(f(1))\nT('g').debug()",
    "@(lambda test: test())\ndef run():\n    assert f(1) == 2",
]
# None of these can fail because of what f does.
# These would have to run in the program's process.
REACHING = [
    "import asyncio\nassert asyncio.run(f(1)) == 2",
    "async def test():\n    assert await f(1) == 2\nasyncio.new_event_loop().run_until_complete(test())",
    "out = io.StringIO()\nwith contextlib.redirect_stdout(out):\n    f(1)\nassert out.getvalue() == '2'",
    "import sys, io\nsys.stdout = io.StringIO()\nf(1)\nassert sys.stdout.getvalue() == '2'",
    "import sys, io\nsys.stdin = io.StringIO('1')\nassert f(1) == 2",
    "from unittest.mock import patch\nwith patch('builtins.input', return_value='1'):\n    assert f(1) == 2",
    "from unittest import mock\nwith mock.patch('builtins.print') as shown:\n    f(1)\nassert shown.called",
]
IDLE = [
    "",
    "# assert f(1) == 2",
    "'''assert f(1) == 2'''",
    "pass",
    "f(1)",
    "f(1) == 2",
    "print(f(1) == 2)",
    "match f(1):\n    case 2:\n        pass",
    "assert True",
    "assert 1 == 1",
    "x = 3\nassert x == 3",
    "assert f",
    "assert callable(f)",
    "assert f is not None",
    "assert f != None",
    "assert isinstance(f, object)",
    "assert f(1) == f(1)",
    "x = f(1)\nassert x == x",
    "assert f(1) or True",
    "assert f(1) == 2 or 1",
    "assert (f(1) == 2, 'message')",
    "assert [f(1) == 2]",
    "assert lambda: f(1) == 2",
    "assert (f(1) == 2 for _ in [1])",
    "if False:\n    assert f(1) == 2",
    "while 0:\n    assert f(1) == 2",
    "def test():\n    assert f(1) == 2",
    "def check(candidate):\n    assert candidate(1) == 2",
    "def check(candidate):\n    pass\ncheck(f)",
    "import unittest\nclass T(unittest.TestCase):\n    def test(self):\n        self.assertEqual(f(1), 2)",
    "try:\n    f(1)\nexcept Exception:\n    pass",
]
# These would check, if they were reached.
NOT_REACHED = [
    "for x in []:\n    assert f(x)",
    "def test():\n    assert f(1) == 2\nif 0 > 1:\n    test()",
    "if __name__ == '__main__':\n    assert f(1) == 2",
    "try:\n    raise ValueError\n    assert f(1) == 2\nexcept ValueError:\n    pass",
    "for x in [1]:\n    continue\n    assert f(x)",
    "try:\n    f(1)\n    assert False\nexcept Exception:\n    pass",
    "try:\n    f(1)\n    assert False\nexcept:\n    pass",
]
BROKEN = ["1 / 0", "import no_such_module\nassert f(1) == 1", "assert 1 == 2", "assert undefined == f(1)"]


@pytest.mark.parametrize("test", CHECKS)
def test_a_statement_that_can_fail_for_the_programs_data_is_a_check(test):
    ((tree, found),) = checks.mark([test], {"f"})

    assert found
    compile(tree, "<test>", "exec")


@pytest.mark.parametrize("test", IDLE)
def test_a_statement_that_cannot_is_none(test):
    assert [found for _, found in checks.mark([test], {"f"})] == [False]


@pytest.mark.parametrize("test", REACHING)
def test_a_test_that_needs_the_programs_process_is_refused(test):
    with pytest.raises(ValueError, match=r"a test (awaits|calls|replaces)"):
        checks.mark([test], {"f"})


def test_words_of_such_tests_are_no_reason_to_refuse_others():
    tests = ["import sys\nassert f(1) == 2, sys.stdout", "assert patch(f) == 'await x'", "assert f.patch(1) == 2"]

    assert all(found for _, found in checks.mark(tests[:2], {"f", "patch"}))
    assert checks.mark(tests[2:], {"f", "patch"})[0][1]


def test_data_reaches_a_test_through_the_setup_and_the_tests_before():
    found = checks.mark(["x = root.value", "assert x == 1"], {"Node"}, setup="root = Node(1)")

    assert [checked for _, checked in found] == [False, True]


def test_the_truth_of_data_is_a_check_and_that_of_a_function_is_not():
    assert checks.mark(["assert f"], {"f"})[0][1] is False
    assert checks.mark(["assert f"], (), data={"f"})[0][1] is True


@pytest.mark.skipif(sys.platform != "linux", reason="programs are confined on Linux only")
@pytest.mark.filterwarnings("ignore:The sandbox runs with fewer layers", "ignore:assertion is always true")
def test_tests_that_test_nothing_are_unsupported_and_never_passed():
    programs = ["def f(x=0):\n    return x", "def f(x=0):\n    raise OSError"]
    tests = [(test,) for test in [*IDLE, *NOT_REACHED, *BROKEN, *REACHING]] + [(), ("assert f(1) == 1", "")]
    jobs = [Job(program, test, (("f", "f"),)) for program in programs for test in tests]

    with ProgramRunner(workers=2, timeout=2.0) as runner:
        results = runner.run_many(jobs)

    # The programs that raise pass those tests that ask for it.
    passed = [job.tests[0] for job, result in zip(jobs, results, strict=True) if result.passed]
    assert {test.partition("\n    assert False\n")[0] for test in passed} == {"try:\n    f(1)"}
    identity = results[: len(tests)]
    assert {result.status for result in identity} == {"unsupported"}


@pytest.mark.skipif(sys.platform != "linux", reason="programs are confined on Linux only")
@pytest.mark.filterwarnings("ignore:The sandbox runs with fewer layers")
def test_a_setup_that_fails_by_itself_is_not_the_programs_fault():
    own = Job("def f():\n    return 1", ("assert f() == 1",), (("f", "f"),), setup="x = 1 / 0")
    programs = Job("def f():\n    raise OSError", ("assert f() == 1",), (("f", "f"),), setup="x = f()")

    with ProgramRunner(workers=1, timeout=2.0) as runner:
        assert [runner.run(own).status, runner.run(programs).status] == ["unsupported", "failed"]
