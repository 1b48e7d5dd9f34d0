"""Check an answer against the numbers, letters and rules of its row, which several answers may satisfy."""

import ast
import re
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from operator import add, mul, sub, truediv
from typing import Any

from mot_trl.tasks.reasoning_gym.readers import board, canonical, json_value, listed, number, tidy

Metadata = dict[str, Any]
Grid = list[list[int]]

# Of what a full solution earns, as a puzzle that is nearly solved is not solved.
_UNSOLVED = 0.9
_OPERATORS: dict[type, Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: add,
    ast.Sub: sub,
    ast.Mult: mul,
    ast.Div: truediv,
}
_SIGNS = {"<": -1, ">": 1}


def reaches(answer: str, numbers: list[int], target: int) -> bool:
    """Whether a formula has exactly this value and uses each of the numbers once; the grammar has admitted it."""
    tree = ast.parse(answer, mode="eval").body
    used = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return Counter(used) == Counter(numbers) and _value(tree) == target


def _value(node: ast.expr) -> Fraction:
    match node:
        case ast.Constant(value=int(value)):
            return Fraction(value)
        case ast.UnaryOp(op=sign, operand=operand):
            return -_value(operand) if isinstance(sign, ast.USub) else _value(operand)
        case ast.BinOp(left=left, op=operator, right=right):
            return _OPERATORS[type(operator)](_value(left), _value(right))
    raise ValueError(f"{ast.dump(node)} is no arithmetic.")


def latin(answer: str, metadata: Metadata, box: int = 1) -> float:
    """1 for a solved Futoshiki or, of boxes `box` wide, Sudoku; else less, for blanks filled rightly (`_beyond`)."""
    puzzle = metadata["puzzle"]
    size = len(puzzle)
    rows = board(answer, ignored="<>\u2227\u2228^v")
    if not re.fullmatch(r"[\d\s<>\u2227\u2228^v]*", answer, re.ASCII) or len(rows) != size:
        return 0.0
    filled = [[int(char) for char in "".join(row) if char.isdigit()] for row in rows]
    if any(len(row) != size for row in filled):
        return 0.0
    kept = [filled[r][c] == puzzle[r][c] for r, c in _cells(puzzle, blank=False)]
    if all(kept) and _is_latin(filled, box) and _are_ordered(filled, metadata.get("constraints", ())):
        return 1.0
    return _UNSOLVED * _beyond(filled, puzzle, metadata["solution"]) * sum(kept) / max(len(kept), 1)


def _is_latin(grid: Grid, box: int) -> bool:
    size = len(grid)
    columns = [list(column) for column in zip(*grid, strict=True)]
    boxes = [
        [grid[r + i][c + j] for i in range(box) for j in range(box)]
        for r in range(0, size, box)
        for c in range(0, size, box)
    ]
    return all(sorted(line) == list(range(1, size + 1)) for line in grid + columns + boxes * (box > 1))


def _are_ordered(grid: Grid, constraints: Any) -> bool:
    return all((grid[a][b] - grid[c][d]) * _SIGNS[sign] > 0 for a, b, c, d, sign in constraints)


def _cells(puzzle: Grid, *, blank: bool) -> list[tuple[int, int]]:
    return [(r, c) for r, row in enumerate(puzzle) for c, value in enumerate(row) if (value == 0) == blank]


def _beyond(filled: Grid, puzzle: Grid, solution: Grid) -> float:
    """The share of blanks filled rightly, beyond that of one number in all of them: 0 for it, 1 for the solution."""
    blanks = _cells(puzzle, blank=True)
    right = [filled[r][c] == solution[r][c] for r, c in blanks]
    commonest = max(Counter(solution[r][c] for r, c in blanks).values(), default=0)
    return rescaled(sum(right) / max(len(blanks), 1), commonest / max(len(blanks), 1))


def rescaled(share: float, trivial: float) -> float:
    """A share of a solution, so that what a trivial answer has is 0."""
    return max(share - trivial, 0.0) / (1 - trivial) if trivial < 1 else 0.0


def word_sorting(answer: str, metadata: Metadata) -> float:
    """1 for the words in order; else the share in their places, beyond that of the words as given or reversed."""
    right, given = metadata["sorted_words"], metadata["transformed_words"]
    words = [word.strip() for word in answer.split(",")]
    if words == right:
        return 1.0
    if sorted(words) != sorted(right):
        return 0.0
    # Swapping two words of many must not look like a solution.
    shares = [
        sum(a == b for a, b in zip(order, right, strict=True)) / len(right) for order in (words, given, given[::-1])
    ]
    return _UNSOLVED * rescaled(shares[0], max(shares[1:]))


def survo(answer: str, metadata: Metadata) -> bool:
    """Whether each candidate fills one blank, and the last number in each row and column is the sum of the others."""
    puzzle = metadata["puzzle"]
    grid = [[int(word) if word.isdecimal() else -1 for word in row] for row in board(answer)]
    if [len(row) for row in grid] != [len(row) for row in puzzle]:
        return False
    given, blanks = _cells(puzzle, blank=False), _cells(puzzle, blank=True)
    return (
        all(grid[r][c] == puzzle[r][c] for r, c in given)
        and Counter(grid[r][c] for r, c in blanks) == Counter(metadata["candidate_numbers"])
        and all(sum(line[:-1]) == line[-1] for line in [*grid, *zip(*grid, strict=True)])
    )


def kakurasu(answer: str, metadata: Metadata) -> bool:
    """Whether the ones of each row and column, weighted by their places, have the sums asked for."""
    rows = board(answer)
    if any({*"".join(row)} - {*"01"} for row in rows):
        return False
    grid = [[int(char) for char in "".join(row)] for row in rows]
    if [len(row) for row in grid] != [metadata["n_cols"]] * metadata["n_rows"]:
        return False
    sums = [[sum(i * x for i, x in enumerate(line, 1)) for line in side] for side in (grid, zip(*grid, strict=True))]
    return sums == [list(metadata["row_sums"]), list(metadata["col_sums"])]


def n_queens(answer: str, metadata: Metadata) -> float:
    """1 for a board with all queens, none of which attacks another; half for the board as a list."""
    boards = metadata["valid_answers"]
    if rows := listed(answer):
        return 0.5 * ("\n".join(" ".join(row) for row in rows) in boards)
    return float(tidy(answer) in boards)


def cryptarithm(answer: str, metadata: Metadata) -> bool:
    """Whether each letter has one digit, and the sum is right."""
    words, total = metadata["words_letters"], metadata["result_letters"]
    pairs = re.findall(r"([A-Za-z]) ?= ?(\d)", tidy(answer))
    digits = dict(pairs)
    if sorted(letter for letter, _ in pairs) != sorted({*"".join(words), *total}):
        return False
    firsts = {word[0] for word in (*words, total)} if not metadata.get("allow_leading_zero") else set()
    *addends, result = [int("".join(digits[letter] for letter in word)) for word in (*words, total)]
    return (
        len({*digits.values()}) == len(pairs)
        and all(digits[letter] != "0" for letter in firsts)
        and sum(addends) == result
    )


def graph_color(answer: str, metadata: Metadata) -> bool:
    """Whether each vertex has one of the colors, and another one than its neighbors."""
    puzzle, colors = metadata["puzzle"], json_value(answer)
    return (
        sorted(colors) == sorted(map(str, puzzle["vertices"]))
        and all(type(color) is int and color in puzzle["color_options"] for color in colors.values())
        and all(colors[str(a)] != colors[str(b)] for a, b in puzzle["edges"])
    )


def same_groups(answer: str, metadata: Metadata, *, ordered: bool) -> bool:
    """Whether the lists are those of the solution, in any order; their words may be in any order unless `ordered`."""
    groups = json_value(answer)
    if not all(type(group) is list and all(type(word) is str for word in group) for group in groups):
        return False
    found, right = (
        sorted(list(group) if ordered else sorted(group) for group in side) for side in (groups, metadata["solution"])
    )
    return found == right


def knights_knaves(answer: str, gold: str) -> bool:
    """Whether each person is named once, with the role of the gold, and nothing else is said."""
    return _roles(answer) is not None and _roles(answer) == _roles(gold)


def _roles(text: str) -> dict[str, str] | None:
    words = [w for w in re.findall(r"[^\s,.;()]+", text.lower()) if w not in ("and", "is", "a", "an")]
    people, roles = words[::2], words[1::2]
    # The names of a hedge come twice; a role in a person's place is no one's.
    return dict(zip(people, roles, strict=True)) if len({*people}) == len(people) == len(roles) else None


def number_format(answer: str, metadata: Metadata) -> bool:
    """Whether the answer is the number asked for, to a hundredth, and is nearer to it than to any other candidate."""
    value = number(answer)
    if value is None:
        return False
    distances = {candidate: abs(float(value) - candidate) for candidate in metadata["candidates"]}
    right = metadata["solution"]
    return distances[right] < 1e-2 and distances[right] == min(distances.values())


def codeio(answer: str, gold: str) -> bool:
    """Whether two texts are the same, or JSON of the same value."""
    return tidy(answer) == tidy(gold) or canonical(json_value(answer)) == canonical(json_value(gold))
