"""Run TRL's tests of GRPO against `MoTGRPOTrainer` in each mode, and say where it behaves otherwise.

    python tests/trl_suite/suite.py --source CHECKOUT --out FOLDER [--modes trl,mixtures] [-k EXPRESSION]

prints the table of docs/trl.md. A mode takes about three minutes on an idle core.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1])]

import trl  # noqa: E402
from as_mot_trl import MODE, MODES, RESULTS  # noqa: E402
from sources import TEST, VARIABLE, Source, find  # noqa: E402
from stand_ins import make_stand_ins  # noqa: E402

Outcomes = Mapping[str, Mapping[str, Any]]
"""What became of each test, by its name."""


def run(source: Source, mode: str, folder: Path, options: Sequence[str] = ()) -> Outcomes:
    """Run the tests in a mode, in a process of its own, with stand-ins for what they load."""
    work = folder / "hub"
    if not work.exists():
        make_stand_ins((source.folder / TEST).read_text(), work)
    results = folder / f"{mode}.jsonl"
    results.unlink(missing_ok=True)
    (folder / "pytest.ini").write_text("[pytest]\n")
    paths = [str(HERE), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        MODE: mode,
        RESULTS: str(results),
        "PYTHONPATH": os.pathsep.join(paths),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(folder / "datasets"),
        "TOKENIZERS_PARALLELISM": "false",
        # Threads that wait for one another take longer than the tiny models' products.
        "OMP_NUM_THREADS": "1",
    }
    pytest = [sys.executable, "-m", "pytest", "-q", "-p", "as_mot_trl", "-p", "no:cacheprovider", "--no-header"]
    ini = [f"--config-file={folder / 'pytest.ini'}", f"--rootdir={source.folder}", "-W", "ignore", "--tb=short"]
    with (folder / f"{mode}.log").open("w") as log:
        command = [*pytest, *ini, *options, str(source.folder / TEST)]
        subprocess.run(command, cwd=work, env=environment, stdout=log, stderr=subprocess.STDOUT)
    return read(results)


def read(results: Path) -> Outcomes:
    """Outcomes by test, from the lines that the plug-in wrote; of several of one test, the first that is no pass."""
    outcomes: dict[str, dict[str, Any]] = {}
    for line in results.read_text().splitlines() if results.exists() else []:
        row = json.loads(line)
        if outcomes.setdefault(row["test"], row)["outcome"] == "passed":
            outcomes[row["test"]] = row
    return outcomes


def judge(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    """`same`, `refused: MESSAGE`, `different: WHY` or `not run`, for a test that passes with TRL's own trainer."""
    if ours["outcome"] == theirs["outcome"]:
        return "same"
    if "error" not in ours:
        return "not run" if ours["outcome"] == "not run" else f"different: {ours['outcome']}"
    if ours["ours"] and ours["error"] in ("ValueError", "TypeError"):
        return f"refused: {ours['message']}"
    return f"different: {ours['error']}: {ours['message']}".strip().splitlines()[0]


def table(outcomes: Mapping[str, Outcomes]) -> list[str]:
    """Markdown rows: what passes with TRL's trainer, by test function, and what each mode makes of it."""
    theirs, modes = outcomes["trl"], [mode for mode in outcomes if mode != "trl"]
    cases: dict[str, list[str]] = {}
    for test in (test for test, outcome in theirs.items() if outcome["outcome"] == "passed"):
        cases.setdefault(test.split("::")[-1].split("[")[0], []).append(test)
    rows = [f"| test | cases | {' | '.join(modes)} |", f"| --- | --- |{' --- |' * len(modes)}"]
    for name, tests in cases.items():
        cells = []
        for mode in modes:
            verdicts = [judge(theirs[test], outcomes[mode].get(test, {"outcome": "not run"})) for test in tests]
            cells.append("; ".join(dict.fromkeys(verdicts)).replace("|", "/"))
        rows.append(f"| `{name}` | {len(tests)} | {' | '.join(cells)} |")
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the modes and print the table, with the tests that TRL's own trainer does not pass here."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default=os.environ.get(VARIABLE), help=f"by default what {VARIABLE} names")
    parser.add_argument("--out", type=Path, required=True, help="keeps the outcomes of modes that are not run again")
    parser.add_argument("--modes", default=",".join(MODES), help="with commas; none to print what was run before")
    parser.add_argument("-k", default="", dest="expression", help="as for pytest")
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    source = find(trl.__version__, given.source, given.out / "source")
    for mode in filter(None, given.modes.split(",")):
        run(source, mode, given.out.resolve(), ["-k", given.expression] if given.expression else [])
    outcomes = {mode: read(given.out / f"{mode}.jsonl") for mode in MODES}
    print(f"TRL's tests of {source.version}, with TRL {trl.__version__}")
    print("\n".join(table(outcomes)))
    for test, outcome in outcomes["trl"].items():
        if outcome["outcome"] != "passed":
            reason = f"{outcome.get('error', '')} {outcome.get('message', '')}".strip().splitlines()
            print(f"not run here: {test}: {outcome['outcome']} {reason[0] if reason else ''}")


if __name__ == "__main__":
    main()
