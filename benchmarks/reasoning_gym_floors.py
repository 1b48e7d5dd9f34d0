"""Measure what answers earn that solve nothing: for each dataset of Reasoning Gym, over many rows.

    python -m benchmarks.reasoning_gym_floors [DATASET ...]

Prints the section "Floors" of docs/reasoning_gym.md. Answers are graded as `score` grades them, but in this process.
"""

import math
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from mot_trl.tasks import reasoning_gym
from mot_trl.tasks.reasoning_gym.answer_grammar import is_admissible
from mot_trl.tasks.reasoning_gym.generator import Generator
from mot_trl.tasks.reasoning_gym.suites import TAMED

COUNT = 120
"""Rows with the dataset's own settings, half of each seed; of the lowest level come a third as many."""

# A constant that earns nothing on as many rows is not tried on the others.
_GLANCE = 12

_FILLED = [
    text
    for n in range(2, 13)
    for value in "01"
    for text in (
        "\n".join([" ".join([value] * n)] * n),
        "[" + ",".join(["[" + ",".join([value] * n) + "]"] * n) + "]",
    )
]
_TEXT = (
    "yes no true false on off undetermined infeasible none empty peng chi gang pass monday tuesday wednesday thursday "
    "friday saturday sunday red green blue yellow orange purple cyan magenta brown black white gray pink violet "
    "indigo silver gold crimson teal mother father sister brother wife husband son daughter grandmother "
    "grandfather aunt uncle niece nephew cousin grandson granddaughter mother-in-law father-in-law alice bob arnold "
    "carol eric peter"
)
_WORDS = _TEXT.split()
_SWEEP = [
    {f"Agent[{r}.5, {c}.5]": f"move(box_{color}, {where})"}
    for color in ("red", "green", "blue")
    for r in range(4)
    for c in range(4)
    for where in (f"target_{color}", f"square[{r}.5, {c + 1}.5]", f"square[{r + 1}.5, {c}.5]", f"square[{r}.5, 0.5]")
]

CONSTANTS: list[str] = [
    *map(str, range(-20, 130)),
    *(
        "0.0",
        "0.5",
        "0.25",
        "0.1",
        "-0.5",
        "1/2",
        "1/4",
        "1/3",
        "3/4",
        "1/6",
        "1.0",
        "1e3",
        "1e-9",
        "0x0",
        "0x1",
        "9" * 12,
    ),
    *("70 or 99999", "1, 2, 3", "0 or 1", "1 or 0", "nan", "inf", "-inf", "NaN", "Infinity", "1e999", "9**9**9"),
    *_WORDS,
    *map(str.capitalize, _WORDS),
    *(
        "YES",
        "NO",
        "yes or no",
        "True or False",
        "on off",
        "I do not know.",
        "the the the the the",
        "a",
        "A",
        "I",
        "x",
    ),
    *(
        "[]",
        "{}",
        "null",
        '""',
        "''",
        "()",
        "[[]]",
        "[0]",
        "[1]",
        "[0, 0]",
        "[true]",
        '["a"]',
        '{"a": 1}',
        "[[[[1]]]]",
    ),
    *("0 0 0 0 0 0", "0 0 0 0 0 0 0 0 0", "1 0 1 0", "0 0 1 0 0 0", "0 0 0 0 0 1"),
    *_FILLED,
    *(
        "8*3*1*1",
        "7*7/2*1",
        "24",
        "6*4*1*1",
        "4*6",
        "1+2+3*7",
        "(1+2+3)*4",
        "12+12",
        "2*12*1*1",
        "8+8+8+0",
        "x",
        "x + C",
    ),
    *("2 \u00d7 2", "2", "1 \u00d7 2 \u00d7 3", "2 \u00d7 3", "1", "2 \u00d7 2 \u00d7 2"),
    *("A=1,B=2,C=3", "P", "Q", "\u00acP", "(P \u2228 Q)", "(P \u2227 Q)", "(P \u2228 \u00acP)", "(P \u2192 P)"),
    *("(P \u2192 Q)", "(Q \u2192 P)", "(P \u2194 Q)", "\u00ac(P \u2227 Q)", "\u00acQ", "(\u00acP \u2228 \u00acQ)"),
    *(
        "A",
        "A \u2192 A",
        "A \u2192 B",
        "B \u2192 B",
        "A \u2192 A \u2192 A",
        "C",
        "B",
        "A \u2192 B \u2192 C",
        "A1",
        "D4",
        "K10",
    ),
    *("up", "down", "left", "right", "right right", "down down", "right down", "up left", "left left", "up up"),
    *('["fill A"]', '["fill B"]', '["fill A", "pour A->B"]', '["fill B", "pour B->A"]', '["fill C", "pour C->A"]'),
    '["fill A", "pour A->B", "empty B", "pour A->B", "fill A", "pour A->B"]',
    '["fill C", "pour C->B", "empty B", "pour C->B", "fill C", "pour C->B"]',
    *("R", "U U", "R U R' U'", "LURD" * 50, "LRUD" * 200, "RRDDLLUU" * 30, "A+1", "A+5", "A+4", "A+3"),
    " ".join(f"{car}{sign}{n}" for _ in range(9) for car in "BCDEFGHIJKLMA" for sign in "+-" for n in (4, 2)),
    " ".join(f"{car}{sign}1" for _ in range(20) for sign in "+-" for car in "BCDEFGHIJKLMA"),
    str(_SWEEP * 3).replace("'", '"'),
    *("Move disk 1 from Peg 1 to Peg 2", "Move disk 1 from Peg 1 to Peg 3", "1 days", "0 days", "00:00", "00:00:00"),
    *(
        "0 days, 00:00",
        "00:00:00.000",
        "(0, 0)",
        "(0.000, 0.000)",
        "90\u00b0",
        "45.00\u00b0",
        "0.0 + 0.0i",
        "0.0",
        "i",
    ),
    str({str(n): n % 3 + 1 for n in range(10)}).replace("'", '"'),
    str({str(n): 1 for n in range(10)}).replace("'", '"'),
    *("$\\frac{1}{2}$", "$1/2$", "\u2705" * 20, "\u274c" * 20, "\n".join(["\u274c" * 20] * 20), "_ _ _ _", "Q _ _ _"),
    *(
        "1 2 3 4\n3 4 1 2\n2 1 4 3\n4 3 2 1",
        "\n".join(" ".join(str((r * 3 + r // 3 + c) % 9 + 1) for c in range(9)) for r in range(9)),
    ),
]
"""Answers that know nothing of the row."""


class Row(NamedTuple):
    """What an answer is tried on."""

    task: str
    config: dict[str, Any]
    entry: dict[str, Any]
    gold: str


class Floor(NamedTuple):
    """The mean rewards of a dataset's best constant, and of the best answers of each kind that know the row."""

    task: str
    rows: int
    constant: str
    earns: float
    lowest: float | None
    junk: float
    copied: float

    @property
    def bound(self) -> float:
        """Two standard errors above the mean of the best constant, rounded up."""
        error = math.sqrt(max(self.earns * (1 - self.earns), 1 / self.rows) / self.rows)
        return min(math.ceil(100 * (self.earns + 2 * error)) / 100, 1.0)


def rows(task: str, count: int = COUNT, level: int | None = None) -> list[Row]:
    """Rows of a dataset, from two seeds; none of a level that it does not have, or makes no row of in ten seconds."""
    generator = Generator(timeout=10)
    found = [row for seed in (42, 31_337) for row in _made(generator, task, seed, level, count // 2)]
    generator.close()
    return found


def _made(generator: Generator, task: str, seed: int, level: int | None, count: int) -> Iterator[Row]:
    if level is not None and level >= generator.levels(task):
        return
    for index in range(count):
        try:
            (item,) = generator.items(task, TAMED.get(task, {}), seed=seed, indices=[index], level=level)
        except (ValueError, TimeoutError):
            if level is not None:
                return
            continue
        yield Row(task, item.config, item.entry, str(item.entry["answer"] or "").strip())


def grade(row: Row, answer: str) -> float:
    """The reward of an answer, without the sandbox: only for answers that are known to be harmless."""
    from mot_trl.tasks.reasoning_gym import scorers

    answer = answer.strip()
    if row.gold and answer == row.gold:
        return 1.0
    if not is_admissible(row.task, answer, row.gold):
        return 0.0
    return scorers.score_all([(row.task, row.config, row.entry, answer)])[0]


def best_constant(found: list[Row]) -> tuple[str, float]:
    """The constant with the highest mean reward, of the bank and the golds of the rows themselves."""
    golds = Counter(known_answer(row) for row in found)
    # What is right on its own row alone, as far as a glance tells, is not tried on all.
    best = ("", 0.0) if not golds else (golds.most_common(1)[0][0], 1 / len(found))
    spread = found[:: max(len(found) // _GLANCE, 1)]
    for constant in dict.fromkeys([*CONSTANTS, *golds]):
        hits = sum(grade(row, constant) > 0 for row in spread if known_answer(row) != constant)
        if constant and (hits or golds[constant] > 1):
            best = max(best, (constant, _mean(found, lambda row, answer=constant: [answer])), key=lambda pair: pair[1])
    return best if best[0] else ("", 0.0)


def known_answer(row: Row) -> str:
    """The gold, or an example where the row has several right answers and names none."""
    metadata = row.entry["metadata"]
    if row.task == "graph_color":
        return str({str(k): v for k, v in metadata["possible_answer"].items()}).replace("'", '"')
    return row.gold or metadata.get("example_answer") or metadata.get("example_correct_answer") or ""


def junk(row: Row, other: str) -> list[str]:
    """The gold among other text, and among candidates."""
    gold = known_answer(row)
    return [
        text
        for text in (
            f"{gold}, zzz", f"zzz, {gold}", f"{gold} zzz", f"zzz {gold}", f"{gold}\nzzz", f"zzz\n{gold}",
            f"{gold}\nThe end.", f"The answer is {gold}.", f"{gold} or 99999", f"99999 or {gold}", f"{gold}, 99999",
            f"99999\n{gold}", f"[{gold}, 99999]", f"{gold} # zzz", f"{gold}.!", f"Shape: {gold}",
            f"{gold}\nShape: zzz", f"{gold}\n{other}", f"{other}\n{gold}", f"{gold} or {other}", f"{gold}, {other}",
            f"{other}, {gold}", f"{gold} {other}", f"{gold} {gold} {gold}!",
        )
        if gold and other and gold != other
    ]  # fmt: skip


def copied(row: Row) -> list[str]:
    """The question, its paragraphs and lines, its lists, and boards with their blanks filled by one number."""
    question = row.entry["question"]
    parts = [question, *question.split("\n\n"), *question.splitlines(), *re.findall(r"\[.*\]", question, re.DOTALL)]
    parts += [part.split(":")[-1] for part in parts]
    parts += [re.sub(r"[_0](?=\s|$)", value, part) for part in question.split("\n\n") for value in "1234"]
    parts += [", ".join(re.findall(r"\d+", question)), " ".join(re.findall(r"[A-Z]{3,}", question))]
    parts += [", ".join(re.split(r"[,\s]+", part.strip())[::-1]) for part in parts[:4]]
    return [part.strip() for part in dict.fromkeys(parts) if part.strip() and part.strip() != row.gold]


def _mean(found: list[Row], answers: Callable[[Row], list[str]]) -> float:
    return sum(max((grade(row, answer) for answer in answers(row)), default=0.0) for row in found) / max(len(found), 1)


def floor(task: str, count: int = COUNT) -> Floor:
    """The measurements of one dataset."""
    found = rows(task, count)
    constant, earns = best_constant(found)
    easy = rows(task, count // 3, level=0)
    others = {id(row): known_answer(other) for row, other in zip(found, found[1:] + found[:1], strict=True)}
    some = found[::3]
    return Floor(
        task,
        len(found),
        constant,
        earns,
        best_constant(easy)[1] if easy else None,
        _mean(some, lambda row: junk(row, others[id(row)])),
        _mean(some, copied),
    )


NATURE: dict[str, str] = {
    **dict.fromkeys(
        ("course_schedule", "game_of_life_halting", "isomorphic_strings", "ransom_note", "syllogism"), "two answers"
    ),
    **dict.fromkeys(("acre", "mahjong_puzzle"), "three answers"),
    **dict.fromkeys(
        ("aiw", "binary_alternation", "count_bits", "count_primes", "gcd", "largest_island", "letter_counting", "maze",
         "number_sequence", "rectangle_count", "rotten_oranges", "self_reference"), "small numbers",
    ),
    **dict.fromkeys(("basic_arithmetic", "chain_sum", "products"), "small numbers at the lowest level"),
    **dict.fromkeys(("color_cube_rotation", "family_relationships", "zebra_puzzles"), "few words"),
    "calendar_arithmetic": "seven days",
    "circuit_logic": "two answers",
    "coin_flip": "few numbers of coins",
    "game_of_life": "boards that die out",
    "graph_color": "a coloring of few edges fits many graphs",
    "jugs": "a short way fits several jugs",
    "knight_swap": "`No` where the swap is impossible",
    "modulo_grid": "small moduli at the lowest level",
    "n_queens": "few boards of eight queens fit",
    "polynomial_equations": "equations such as `3*x**2 = 0`",
    "power_function": "exponents of 0",
    "pool_matrix": "kernels of one cell copy the matrix",
    "propositional_logic": "premises that are `P` and `Q`",
    "quantum_lock": "a short sequence reaches several targets",
    "shortest_path": "`infeasible` where the way is blocked",
    "tower_of_hanoi": "few disks and pegs",
    "tsumego": "few places on the board",
}  # fmt: skip
"""Why an answer that knows nothing of the row is right so often."""


def main() -> None:
    """Print the section for the datasets named on the command line, by default all."""
    print_section(sys.argv[1:] or reasoning_gym.names())


def print_section(tasks: list[str]) -> None:
    """Measure datasets, and print what they pay for nothing."""
    print(_HEAD.format(bank=len(CONSTANTS)))
    for task in tasks:
        line = floor(task)
        lowest = "" if line.lowest is None else f"{line.lowest:.2f}"
        constant = shown(line.constant) if line.earns else ""
        print(
            f"| {task} | {line.rows} | {line.bound:.2f} | {line.earns:.2f} | {constant} | {lowest} "
            f"| {line.junk:.2f} | {line.copied:.2f} | {NATURE.get(task, '')} |",
            flush=True,
        )


def shown(constant: str) -> str:
    """A constant as the table shows it: on one line, and cut."""
    text = " / ".join(constant.split("\n")).replace("|", "\\|")
    return f"`{text[:24]}{'...' * (len(text) > 24)}`"


_HEAD = """## Floors

What an answer earns that solves nothing, by `python -m benchmarks.reasoning_gym_floors`: a policy that collapses to
one answer earns the floor, and no more. Rows come from two seeds, with the settings above.

- `floor`: two standard errors above `measured`, the highest mean reward of one answer to all rows, out of {bank}
  constants (numbers, words, boards, formulas, plans that try everything) and the golds of all rows. `lowest`: the same
  as `measured`, at the lowest level of the dataset's curriculum.
- `junk`: the mean of the best of two dozen answers that hold the gold among other text or among candidates, such as
  `70 or 99999`. In quantum_lock, two right sequences may be a longer right one.
- `copied`: the mean of the best part of the question, with its blanks as they are or filled.

| dataset | rows | floor | measured | constant | lowest | junk | copied | why |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |"""

if __name__ == "__main__":
    main()
