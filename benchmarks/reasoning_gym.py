"""Measure every dataset of Reasoning Gym: speed of items and scores, and what golds and junk answers earn.

    python -m benchmarks.reasoning_gym > docs/reasoning_gym.md

Prints the page as Markdown. Scoring is timed in batches of 64 wrong answers, each the gold of another item where there
are golds, against the bare scorer called in this process.
"""

import contextlib
import io
import statistics
import sys
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.reasoning_gym_floors import print_section
from mot_trl.tasks import reasoning_gym
from mot_trl.tasks.reasoning_gym.answer_grammar import EXECUTED
from mot_trl.tasks.reasoning_gym.suites import TAMED

MARK = "/tmp/mot_trl_was_here"

HOSTILE = {
    "system": f"__import__('os').system('touch {MARK}')",
    "open": f"open('{MARK}', 'w').close()",
    "exec": f"exec(\"open('{MARK}', 'w')\")",
    "in a list": f"[__import__('os').system('touch {MARK}')]",
    "in a comprehension": f"[x for x in [open('{MARK}', 'w')]]",
    "attributes": "().__class__.__base__.__subclasses__()",
    "lambda": "(lambda: 0)()",
    "format": "'{0.__class__}'.format(0)",
    "exit": "exit()",
    "sleep": "__import__('time').sleep(60)",
    "tower": "9**9**9",
    "tower of powers": "9**9**9**9",
    "factorial": "100000000!",
    "shift": "1<<9999999999",
    "repetition": "[0]*10**10",
    "big exponent": "1e999999999",
    "nan": "nan",
    "complex nan": "nanj",
    "infinity": "inf",
    "minus infinity": "-inf",
    "division by zero": "1/0",
    "Arabic digits": "\u0663\u0664",
    "full-width digits": "\uff11\uff12",
    "superscript": "x\u00b2",
    "null character": "\0",
    "surrogate": "\ud800",
    "no answer": "",
    "None": "None",
    "prose": "I do not know the answer.",
    "alphabet": "abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ 0123456789",
    "empty list": "[[]]",
    "null": "null",
    "1 MB of letters": "A" * 1_000_000,
    "1 MB of digits": "0123456789" * 100_000,
    "1 MB of lines": "0 1\n" * 250_000,
    "4,000 brackets": "[" * 2_000 + "]" * 2_000,
    "4,000 parentheses": "(" * 2_000 + ")" * 2_000,
    "backslashes": "\\" * 3_000,
    "many terms": "+".join(["x"] * 2_000),
    "nested functions": "sin(" * 25 + "x" + ")" * 25,
}
"""Answers that solve no problem; some of them run code or never end in a bare scorer."""

_BATCH = 64
_PATIENCE = 1  # seconds for bare scorers, some of which take as long for a single answer


class Line(NamedTuple):
    """Measurements of one dataset; times in ms."""

    task: str
    made: float
    slowest: float
    gold: str
    junk: float
    guarded: float
    bare: float


def hostile_scores(task: str, row: dict) -> dict[str, float | None]:
    """The scores of the hostile answers on a row."""
    completions = [f"<think>\n</think>\n<answer>{answer}</answer>" for answer in HOSTILE.values()]
    count = len(completions)
    scores = reasoning_gym.score(completions, task=[task] * count, entry=[row["entry"]] * count)
    return dict(zip(HOSTILE, scores, strict=True))


def gold_scores(rows: list[dict]) -> list[float | None]:
    """The scorers' own scores of the rows' golds; rows without a gold are left out."""
    golds = [row for row in rows if row["answer"].strip()]
    return reasoning_gym.score.ask(
        [row["task"] for row in golds], [row["entry"] for row in golds], [row["answer"].strip() for row in golds]
    )


def survey(task: str) -> Line:
    """Make items of a dataset, and score golds, junk and batches of wrong answers."""
    times, items = [], []
    for index in range(20):
        start = time.perf_counter()
        items += reasoning_gym.GENERATOR.items(task, TAMED.get(task, {}), seed=42, indices=[index])
        times.append(1e3 * (time.perf_counter() - start))
    rows = [reasoning_gym.row(task, item) for item in items]
    golds = gold_scores(rows)
    gold = f"{sum(scored == 1.0 for scored in golds)}/{len(golds)}" if golds else "none"
    junk = max(scored or 0.0 for row in rows[:2] for scored in hostile_scores(task, row).values())
    wrong = [(rows[n % 20], rows[(n + 1 + n // 20) % 20]["answer"].strip() or f"answer {n}") for n in range(_BATCH)]
    return Line(task, statistics.mean(times), max(times), gold, junk, _guarded(wrong), _bare(task, items, wrong))


def _guarded(wrong: list[tuple[dict, str]]) -> float:
    task, entry = [row["task"] for row, _ in wrong], [row["entry"] for row, _ in wrong]
    times = []
    for _ in range(3):
        start = time.perf_counter()
        reasoning_gym.score.ask(task, entry, [answer for _, answer in wrong])
        times.append(1e3 * (time.perf_counter() - start) / len(wrong))
    return min(times)


def _bare(task: str, items: list, wrong: list[tuple[dict, str]]) -> float:
    from reasoning_gym.factory import create_dataset

    scorer = create_dataset(task, seed=0, size=1, **TAMED.get(task, {}))
    start, count = time.perf_counter(), 0
    with contextlib.redirect_stdout(io.StringIO()):  # some scorers print, some fail on wrong answers
        for number, (_, answer) in enumerate(wrong):
            with contextlib.suppress(Exception):
                scorer.score_answer(answer, items[number % len(items)].entry)
            count += 1
            if time.perf_counter() - start > _PATIENCE:
                break
    return 1e3 * (time.perf_counter() - start) / count


def main() -> None:
    """Survey the datasets named on the command line, by default all, and print the page."""
    Path(MARK).unlink(missing_ok=True)
    lines = []
    for task in sys.argv[1:] or reasoning_gym.names():
        lines.append(survey(task))
        print(lines[-1], file=sys.stderr, flush=True)
    # Where answers are judged faster than by the bare scorer, nothing is added.
    overhead = [max(line.guarded - line.bare, 0.0) for line in lines]
    print(_HEAD.format(count=len(lines), hostile=len(HOSTILE), executed="**Some**" if Path(MARK).exists() else "None"))
    print("| dataset | ms per item | slowest | gold earns 1 | junk earns | ms per answer | bare | note |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for line in lines:
        note = "runs answers" if line.task in EXECUTED else "tamed" if line.task in TAMED else ""
        print(
            f"| {line.task} | {line.made:.2f} | {line.slowest:.1f} | {line.gold} | {line.junk:.2f} "
            f"| {line.guarded:.2f} | {line.bare:.2f} | {note} |"
        )
    print(
        f"\nThe sandbox adds {statistics.mean(overhead):.2f} ms per answer on average, "
        f"median {statistics.median(overhead):.2f}, at most {max(overhead):.2f}.\n"
    )
    print_section([line.task for line in lines])


_HEAD = """# Reasoning Gym

```python
from mot_trl.tasks import reasoning_gym

rows = reasoning_gym.load("maze", size=1000)  # any dataset; also takes its settings, such as max_dist=12
held_out = reasoning_gym.load("maze", size=100, split="test")
mixture = reasoning_gym.load({{"maze": 2, "acre": 1}})  # weights; or a suite: "five", "ten"
endless = reasoning_gym.stream("ten")  # generated during training: needs `max_steps`
trainer = GRPOTrainer(..., reward_funcs=[reasoning_gym.score], train_dataset=rows, eval_dataset=held_out)
```

`recipes/reasoning_gym.py` does this from the command line, with `--task`, `--suite` and `--curriculum`.

**Splits.** A hash of the question, ignoring letter case and white space, decides its split: one question in eight goes
to the test split. So no seed, size or setting can bring a test question into training. Seeds cannot ensure that: item
`i` of seed `s` is item 0 of seed `s + i`, and some datasets have few questions.

**The same rows everywhere.** Items are generated in a separate process with a fixed `PYTHONHASHSEED`; otherwise
isomorphic_strings, knight_swap, polynomial_multiplication, ransom_note and word_ladder differ between processes. A row
stores everything its scorer needs as text, since a table would turn tuples into lists and integer keys into text.

**Scores.** The final answer is stripped, and read as a whole: a hedge (`70 or 99999`), the gold among other text, or a
list that holds it earns 0. Where one answer is right, it is compared as text (white space apart), as a number or as a
list; letter case counts only where it can change the answer. Where several are right, the row decides: an expression
must use the row's numbers, each once; a board must follow the rules; every move must be legal, as a plan that tries
everything would otherwise fit all puzzles. So 96 of the datasets have verifiers of our own; Reasoning Gym's scorers,
which run the answer as Python, accept `8*3*1*1` on every row or pay 0.96 for an empty board, judge nine.

- Partial credit is paid for a valid solution that is longer than need be (knight_swap, quantum_lock, shortest_path,
  tower_of_hanoi), for a right one in another form (binary_matrix, n_queens, spiral_matrix, string_insertion), and for
  parts of one, beyond what a trivial answer has: boxes delivered (boxnet), blanks filled rightly less the commonest
  number's share (futoshiki, mini_sudoku, sudoku), words in their places less those there to begin with (word_sorting).
- propositional_logic pays 1 for a conclusion as strong as all premises together, and for a weaker one half its share
  of what they rule out: `P or Q` follows from most rows.
- intermediate_integration and simple_integration compare the derivative at four points. A few golds are unevaluated
  integrals, which earn 1 only as the same text; a solution earns 1, too.
- An answer must first pass a grammar that allows only the form of its dataset: of expressions, only the names and
  calls of elementary mathematics. Then it is read in the sandbox.

**Curriculum.** `training_data(..., curriculum=True)` returns a stream whose items become harder, by Reasoning Gym's
own levels, as the logged `<task>_accuracy` rises, and easier as it falls. `<task>_level` is logged. Levels depend only
on the log, so a resumed run has the same levels.

## All datasets

`python -m benchmarks.reasoning_gym` generates this page: {count} datasets, 20 items each with seed 42, and
{hostile} hostile or junk answers to two of the items. {executed} of the code in those answers ran.

- `gold earns 1`: golds that the dataset's scorer, in the sandbox, gives a reward of 1.
- `ms per answer`: time to score a batch of 64 wrong answers, divided by 64, best of three; `bare` is the same for
  Reasoning Gym's own scorer, called in the benchmark's process without a sandbox.
- `runs answers`: Reasoning Gym's own scorer runs the answer as Python. Ours parse it, and SymPy reads those of the
  integrations and of polynomial_multiplication, once they have passed the grammar.
- `tamed`: generated with smaller settings than Reasoning Gym's defaults, which take up to seconds per item or never
  finish.
"""

if __name__ == "__main__":
    main()
