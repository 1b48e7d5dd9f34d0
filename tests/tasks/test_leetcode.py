"""LeetCodeDataset: its own solutions pass, and its tests are taken apart without loss."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from mot_trl.rewards import code as programs
from mot_trl.sandbox import ProgramRunner
from mot_trl.tasks import leetcode

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "leetcode"

PRELUDE = (
    "from typing import *\n\nclass TreeNode:\n    def __init__(self, val=0, left=None, right=None):\n"
    "        self.val = val\n        self.left = left\n        self.right = right\n\n"
    "def tree_node(values):\n    return TreeNode(values[0], TreeNode(values[1]), TreeNode(values[2]))\n\n"
    "def is_same_tree(p, q):\n    if not p or not q:\n        return not p and not q\n"
    "    return p.val == q.val and is_same_tree(p.left, q.left) and is_same_tree(p.right, q.right)\n"
)
ROW = {
    "task_id": "invert",
    "query": "Invert the tree.",
    "prompt": PRELUDE,
    "entry_point": "Solution().invert",
    "test": "def check(candidate):\n"
    "    assert is_same_tree(candidate(root = tree_node([1, 2, 3])),tree_node([1, 3, 2]))\n"
    "    same = tree_node([1, 2, 2])\n"
    "    assert is_same_tree(candidate(root = same),same)\n",
}
RIGHT = (
    "class Solution:\n    def invert(self, root: Optional[TreeNode]) -> Optional[TreeNode]:\n"
    "        return root and TreeNode(root.val, self.invert(root.right), self.invert(root.left))"
)

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="programs are confined on Linux only"),
    pytest.mark.filterwarnings("ignore:The sandbox runs with fewer layers"),
]


@pytest.fixture
def rows(tmp_path):
    (tmp_path / "train.jsonl").write_text(json.dumps(ROW) + "\n")
    return leetcode.load("train", tmp_path)


def test_rows_do_not_shadow_the_prompt(rows):
    assert rows.column_names == list(programs.COLUMNS)
    assert rows[0]["prompt"] == [{"role": "user", "content": "Invert the tree."}]
    assert rows[0]["prelude"] == PRELUDE


def test_statements_stay_with_the_assert_they_lead_up_to(rows):
    assert rows[0]["tests"] == [
        "assert is_same_tree(candidate(root=tree_node([1, 2, 3])), tree_node([1, 3, 2]))",
        "same = tree_node([1, 2, 2])\nassert is_same_tree(candidate(root=same), same)",
    ]


@pytest.mark.parametrize("source", ["assert 1", "def test():\n    assert 1", "x = 1\ndef check(c):\n    assert 1"])
def test_other_tests_are_refused(source):
    with pytest.raises(ValueError, match="check"):
        leetcode.split_tests(source)


@pytest.mark.parametrize(
    ("body", "count"),
    [
        ("for a in [1, 2]:\n    assert candidate(a) == a", 1),
        ("assert candidate(1) == 1\nfor a in [2, 3]:\n    assert candidate(a) == a", 2),
        ("try:\n    assert candidate(1) == 1\nexcept ZeroDivisionError:\n    raise", 1),
        ("assert candidate(1) == 1\nassert candidate(2) == 2\nx = candidate(3)\ny = x", 2),
        ("x = candidate(1)\nassert x == 1\nassert x < 2", 2),
        ("with open('x') as file:\n    assert candidate(file) == 1", 1),
        ("if candidate(1) != 1:\n    raise AssertionError", 1),
        ("assert candidate(1) == 1\nreturn\nassert candidate(2) == 2", 1),
        ("def verify(a):\n    assert candidate(a) == a\nverify(1)\nverify(2)", 1),
    ],
)
def test_no_check_is_lost(body, count):
    source = "def check(candidate):\n" + "".join(f"    {line}\n" for line in body.splitlines())

    tests = leetcode.split_tests(source)

    assert "\n".join(tests).count("assert") == source.count("assert")
    assert "\n".join(tests).count("candidate(") >= source.count("candidate(")
    assert len(tests) == count


@pytest.mark.parametrize(
    "body",
    [
        "pass",
        "'Checks nothing.'",
        "candidate(1)",
        "candidate(1) == 1",
        "print(candidate(1) == 1)",
        "assert True",
        "assert 1 + 1 == 2",
        "assert candidate",
        "assert candidate(1) == candidate(1)",
        "if False:\n        assert candidate(1) == 1",
        "def test():\n        assert candidate(1) == 1",
    ],
)
def test_a_row_whose_tests_check_nothing_is_refused_by_its_name(tmp_path, body):
    row = {**ROW, "test": f"def check(candidate):\n    {body}\n"}
    (tmp_path / "train.jsonl").write_text(json.dumps(row) + "\n")

    with pytest.raises(ValueError, match=r"row 'invert' cannot be used: its tests check nothing"):
        leetcode.load("train", tmp_path)


@pytest.mark.parametrize("test", [None, "", "def check(candidate:", "def check(other):\n    assert other(1) == 1"])
def test_a_row_without_readable_tests_is_refused_by_its_name(tmp_path, test):
    (tmp_path / "train.jsonl").write_text(json.dumps({**ROW, "test": test}) + "\n")

    with pytest.raises(ValueError, match="row 'invert' cannot be used"):
        leetcode.load("train", tmp_path)


@pytest.mark.parametrize(
    ("code", "all_pass", "share"),
    [
        (RIGHT, 1.0, 1.0),
        ("class Solution:\n    def invert(self, root):\n        return root", 0.0, 0.5),
        ("class Solution:\n    def invert(self, root):\n        return 7", 0.0, 0.0),
        (
            "class Equal:\n    __eq__ = lambda *_: True\n\nclass Solution:\n    invert = lambda *_, **__: Equal()",
            0.0,
            0.0,
        ),
    ],
)
def test_rewards(rows, code, all_pass, share):
    asked = {name: rows[name] for name in rows.column_names if name != "prompt"}
    completions = [f"```python\n{code}\n```"]

    assert leetcode.tests_pass(completions=completions, **asked) == [all_pass]
    assert leetcode.tests_fraction(completions=completions, **asked) == [share]


def test_rows_of_another_dataset_are_refused(tmp_path):
    (tmp_path / "train.jsonl").write_text('{"question": "?"}\n')

    with pytest.raises(ValueError, match="entry_point"):
        leetcode.load("train", tmp_path)


@pytest.mark.slow
def test_a_quarter_of_the_test_sets_own_solutions_pass():
    path = SHARED / "test.jsonl"
    if not path.exists():
        pytest.skip("no LeetCodeDataset on this machine")
    if importlib.util.find_spec("sortedcontainers") is None:
        pytest.skip("18 solutions need sortedcontainers")
    rows = leetcode.load("test", path)
    solutions = [json.loads(line)["completion"] for line in path.read_text().splitlines()]
    jobs = [programs.job(solution, row) for solution, row in zip(solutions, rows, strict=True)][::4]

    with ProgramRunner(timeout=60.0, test_timeout=10.0, memory_mb=1024) as runner:
        results = runner.run_many(jobs)

    assert len(results) == 57
    assert [result.detail for result in results if not result.passed] == []
