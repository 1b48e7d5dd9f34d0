"""Count how many of a dataset's own solutions pass the program rewards: each one missing is a grading error.

    python benchmarks/solutions.py leetcode --split test
    python benchmarks/solutions.py mbpp --split test --path folder/with/jsonl

Each solution is judged as a completion would be, by the runner and with the limits that the rewards have by default.
Solutions of LeetCodeDataset need `sortedcontainers`.
"""

import argparse
import time

from mot_trl.rewards import code as programs
from mot_trl.tasks import leetcode, mbpp
from mot_trl.tasks.loading import read_rows

SETS = {
    "mbpp": (mbpp.load, "google-research-datasets/mbpp", "code"),
    "leetcode": (leetcode.load, "newfacade/LeetCodeDataset", "completion"),
}


def main() -> None:
    """Print how many pass, why the others fail, and how long it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=SETS)
    parser.add_argument("--split", default="test")
    parser.add_argument("--path", help="a .jsonl file, or a folder of them, in place of the hub")
    arguments = parser.parse_args()
    load, hub_id, column = SETS[arguments.data]
    rows = load(arguments.split, arguments.path)
    solutions = read_rows(arguments.split, arguments.path, hub_id=hub_id)[column]

    started = time.perf_counter()
    columns = {name: rows[name] for name in rows.column_names if name != "prompt"}
    results = programs.run_completions([f"```python\n{solution}\n```" for solution in solutions], columns)
    seconds = time.perf_counter() - started

    for task, result in zip(rows["task_id"], results, strict=True):
        if result is None or not result.passed:
            print(f"{task}: {result and (result.status, result.detail)}")
    judged = [result for result in results if result is not None and result.judged]
    passed = sum(result.passed for result in judged)
    print(
        f"{arguments.data} {arguments.split}: {passed}/{len(results)} pass, {len(results) - len(judged)} not judged, "
        f"{seconds:.0f} s; the slowest took {max(result.seconds for result in judged):.1f} s of its own"
    )


if __name__ == "__main__":
    main()
