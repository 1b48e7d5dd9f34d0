import json
from collections import deque

import pytest

from benchmarks.reasoning_gym_floors import _SWEEP
from mot_trl.tasks import reasoning_gym
from mot_trl.tasks.reasoning_gym import matches, puzzles, readers, score, simulations
from mot_trl.tasks.reasoning_gym.answer_grammar import is_admissible
from mot_trl.tasks.reasoning_gym.suites import TAMED


def make(task, count=4, seed=42, **config):
    settings = {**TAMED.get(task, {}), **config}
    return reasoning_gym.GENERATOR.items(task, settings, seed=seed, indices=range(count))


def earned(task, items, answers):
    rows = [reasoning_gym.row(task, item) for item in items]
    completions = [f"<think>\nhm\n</think>\n<answer>{answer}</answer>" for answer in answers]
    return score(completions, task=[task] * len(rows), entry=[row["entry"] for row in rows])


def gold(item):
    return item.entry["answer"]


def data(item):
    return item.entry["metadata"]


SAME = [
    ("70", "70", True),
    ("70.0", "70", True),
    ("+1,070", "1070", True),
    ("\u22127", "-7", True),
    ("  7\n", "7", True),
    ("0 1\n\n1  0 ", "0 1\n1 0", True),
    ("[1,2]", "[1, 2]", True),
    ('["-1.5", "2"]', "['-1.5', '2']", True),
    ("70 or 99999", "70", False),
    ("70, 99999", "70", False),
    ("7,0", "70", False),
    ("70 girls", "70", False),
    ("-70", "70", False),
    ("[70]", "70", False),
    ("70\n99999", "70", False),
    ("0 1 1 0", "0 1\n1 0", False),
    ("[1, 2, 3]", "[1, 2]", False),
    ("[2, 1]", "[1, 2]", False),
    ("[1, true]", "[1, 1]", False),
    ("[[1, 2]]", "[1, 2]", False),
    ("yes", "Yes", False),
    ("nan", "nan 1", False),
    ("1e400", "1", False),
    ("[" * 2000 + "]" * 2000, "[]", False),
]


@pytest.mark.parametrize(("answer", "right", "equal"), SAME)
def test_an_answer_is_the_gold_as_text_number_or_list_and_as_a_whole(answer, right, equal):
    assert matches.same(answer, right) is equal


def test_letter_case_counts_unless_it_is_folded():
    assert matches.same("yes", "Yes", fold=True)
    assert not matches.same("yes no", "Yes", fold=True)


@pytest.mark.parametrize(
    ("answer", "right", "equal"),
    [
        ("17:53:00", "17:53:00", True),
        ("17:53", "17:53:00", True),
        ("59 days, 17:53", "59 days, 17:53:00", True),
        ("1 day", "1 days", True),
        ("1", "1 days", True),
        ("00:00:01.500", "00:00:01.5", True),
        ("17:53:00:99", "17:53:00", False),
        ("17:53:00 or 18:00:00", "17:53:00", False),
        ("59 days, 17:53:00, 60 days", "59 days, 17:53:00", False),
        ("59 days", "59 days, 17:53:00", False),
        ("59 zzz", "59 days", False),
        ("1", "00:01", False),
        ("", "0 days", False),
        ("17:99", "18:39", False),
    ],
)
def test_a_duration_is_read_as_a_whole(answer, right, equal):
    assert matches.same_duration(answer, right) is equal


@pytest.mark.parametrize(
    ("answer", "right", "equal"),
    [
        ("0.2256", "0.2255859375", True),
        ("231/1024", "0.2255859375", True),
        ("231 / 1024", "0.2255859375", True),
        ("3.05e-5", "1/32768", True),
        ("0", "1/32768", False),
        ("0.0001", "1/32768", False),
        ("0.23", "0.2255859375", False),
        ("0.125 0", "0.125", False),
    ],
)
def test_a_probability_is_close_in_proportion_to_the_gold(answer, right, equal):
    try:
        assert matches.same_probability(answer, right) is equal
    except ValueError:
        assert not equal


@pytest.mark.parametrize(
    ("answer", "equal"),
    [
        (r"\frac{17}{293}", True),
        (r"$\dfrac{17}{293}$", True),
        ("17/293", True),
        ("17 / 293", True),
        (r"$\frac{17}{293}{5}$", False),
        (r"\frac{17}{293} or \frac{1}{2}", False),
        ("34/586", False),
        ("293/17", False),
        ("17", False),
    ],
)
def test_a_fraction_stands_alone(answer, equal):
    assert matches.same_fraction(answer, 17, 293) is equal


def test_roots_may_come_in_any_order_but_not_among_others():
    assert matches.same_roots("2, -1.5", "-1.5, 2.0")
    assert matches.same_roots("0.33333", "0.3333")
    assert matches.same_roots('""', "")
    for wrong in ("-1.5", "-1.5, 2, 3", "-1.5, 2.001", "zzz", "-1.5, two", "-1.5 2"):
        assert not matches.same_roots(wrong, "-1.5, 2.0"), wrong
    for wrong in ("zzz", "0", "none", "[]"):
        assert not matches.same_roots(wrong, ""), wrong


def test_factors_are_those_of_the_number_in_any_order():
    for right in ("2 \u00d7 3 \u00d7 7", "7*3*2", "3 x 2 x 7"):
        assert matches.same_factors(right, [2, 3, 7]), right
    for wrong in (
        "42",
        "6 \u00d7 7",
        "1 \u00d7 2 \u00d7 3 \u00d7 7",
        "2 \u00d7 3 \u00d7 7 \u00d7",
        "2, 3, 7",
        "-2*-3*7",
        "2*3*7 zzz",
    ):
        assert not matches.same_factors(wrong, [2, 3, 7]), wrong


def test_a_board_of_numbers_has_its_shape_and_values():
    assert matches.same_board("5.50 3.75", "5.5 3.75", "0.01")
    for wrong in ("5.5\n3.75", "5.5 3.75 1", "5.5 3.75 # zzz", "5.45 3.75", "nan nan", "5.5"):
        assert not matches.same_board(wrong, "5.5 3.75", "0.01"), wrong


@pytest.mark.parametrize(
    ("answer", "equal"),
    [
        ("8*3*1*1", True),
        ("(8-3-1-1)*8", False),
        ("1*(8*3)/1", True),
        ("8*3*1*1*1", False),
        ("8*3", False),
        ("24", False),
        ("8*3+1-1", True),
        ("8*3+1/1", False),
        ("3*8*1*-1*-1", False),
        ("-(3*8*1)*-1", True),
    ],
)
def test_a_formula_uses_the_numbers_of_its_row_once_each(answer, equal):
    assert puzzles.reaches(answer, [1, 3, 8, 1], 24) is equal


def test_a_formula_is_computed_exactly():
    assert puzzles.reaches("8/(3-8/3)", [3, 3, 8, 8], 24)
    assert not puzzles.reaches("7*7/2*1", [7, 7, 2, 1], 24)
    with pytest.raises(ZeroDivisionError):
        puzzles.reaches("8/(1-1)*3", [8, 1, 1, 3], 24)


def test_another_expression_is_right_and_that_of_another_row_wrong():
    for task in ("puzzle24", "countdown"):
        items = make(task)
        golds = [gold(item) for item in items]

        assert earned(task, items, [f"-(-({text}))" for text in golds]) == [1.0] * 4
        assert earned(task, items, golds[1:] + golds[:1]) == [0.0] * 4
        assert earned(task, items, ["8*3*1*1", "7*7/2*1", "24", "12+12"]) == [0.0] * 4


def test_a_grid_that_dies_is_no_partial_solution_of_one_that_lives():
    lives = [item for item in make("game_of_life", 24) if "1" in gold(item)][:4]
    zeros = [gold(item).replace("1", "0") for item in lives]
    bigger = [json.dumps([[*row, 0] for row in json.loads(gold(item))] + [[0]]) for item in lives]

    assert len(lives) == 4
    assert earned("game_of_life", lives, zeros) == [0.0] * 4
    assert earned("game_of_life", lives, bigger) == [0.0] * 4
    assert earned("game_of_life", lives, [json.dumps(json.loads(gold(item)), indent=1) for item in lives]) == [1.0] * 4


def test_sorted_words_are_all_of_them_and_no_others():
    items = make("word_sorting")

    assert earned("word_sorting", items, [f"{gold(item)}, zzz" for item in items]) == [0.0] * 4
    assert earned("word_sorting", items, [", ".join(data(item)["transformed_words"]) for item in items]) == [0.0] * 4
    assert earned("word_sorting", items, [gold(item).replace(", ", ",") for item in items]) == [1.0] * 4


def test_words_out_of_order_earn_what_the_given_order_does_not_have():
    words = {"sorted_words": list("abcdef"), "transformed_words": list("fbcdea")}

    assert puzzles.word_sorting("f, b, c, d, e, a", words) == 0.0
    assert puzzles.word_sorting("f, e, d, c, b, a", words) == 0.0
    assert puzzles.word_sorting("b, c, d, e, f, a", words) == 0.0
    assert (
        0.0
        < puzzles.word_sorting(
            "a, b, c, d, e, f".replace("e, f", "f, e"), words | {"transformed_words": list("bcdefa")}
        )
        < 1.0
    )


def test_numbers_near_the_gold_are_not_the_gold():
    items = make("number_sorting")
    near = [str([str(float(x) + 0.5) for x in data(item)["sorted_numbers"]]) for item in items]

    assert earned("number_sorting", items, near) == [0.0] * 4
    assert earned("number_sorting", items, [gold(item).replace("'", "") for item in items]) == [1.0] * 4


def test_a_count_below_zero_is_no_licence():
    (item,) = make("calendar_arithmetic", 1, tasks=["recurring_event_day"])
    never = item._replace(entry=item.entry | {"answer": "-1"})

    assert earned("calendar_arithmetic", [never] * 3, ["5", "100", "-1"]) == [0.0, 0.0, 1.0]


def test_a_long_word_with_more_behind_it_is_another_word():
    items = make("spell_backward", 40, min_word_len=3, max_word_len=20)
    fonts = make("figlet_font", 4, min_word_len=10, max_word_len=12)

    assert earned("spell_backward", items, [f"{gold(item)}zzz" for item in items]) == [0.0] * 40
    assert earned("figlet_font", fonts, [f"{gold(item)}zzz" for item in fonts]) == [0.0] * 4
    assert earned("figlet_font", fonts, [" ".join(gold(item)) for item in fonts]) == [1.0] * 4


def test_the_number_to_factor_is_no_answer():
    items = [item for item in make("prime_factorization", 20) if len(data(item)["factors"]) > 1][:4]

    assert earned("prime_factorization", items, [str(data(item)["number"]) for item in items]) == [0.0] * 4


def test_who_is_called_both_is_called_nothing():
    text = "Zoey is a knight, and Riley is a knave."

    assert puzzles.knights_knaves("Riley is a knave and Zoey is a knight", text)
    assert puzzles.knights_knaves("(Zoey, knight), (Riley, knave)", text)
    for wrong in (
        "Zoey is a knight, and Riley is a knight.",
        "Zoey is a knight and a knave, and Riley is a knave and a knight",
        "Zoey is a knight, Zoey is a knave, Riley is a knave",
        "Zoey is a knight",
        "knight knave",
        f"{text} Riley is a knight",
        f"{text} zzz",
    ):
        assert not puzzles.knights_knaves(wrong, text), wrong


PUZZLE = [[3, 0, 2, 4], [0, 4, 1, 0], [0, 0, 0, 2], [0, 0, 0, 0]]
SOLUTION = [[3, 1, 2, 4], [2, 4, 1, 3], [1, 3, 4, 2], [4, 2, 3, 1]]
SUDOKU = {"puzzle": PUZZLE, "solution": SOLUTION}


def text(grid):
    return "\n".join(" ".join(map(str, row)) for row in grid)


def test_part_of_a_board_earns_what_takes_thought():
    def fill(value):
        return text([[given or value for given in row] for row in PUZZLE])

    nearly = [*SOLUTION[:3], [4, 2, 1, 3]]

    assert puzzles.latin(text(SOLUTION), SUDOKU, box=2) == 1.0
    assert [puzzles.latin(fill(value), SUDOKU, box=2) for value in range(5)] == [0.0] * 5
    assert puzzles.latin(text(PUZZLE).replace("0", "_"), SUDOKU, box=2) == 0.0
    assert 0.5 < puzzles.latin(text(nearly), SUDOKU, box=2) < 0.9
    for junk_ in ("\nzzz", "\n1 2 3 4", " 1", "\n#"):
        assert puzzles.latin(text(SOLUTION) + junk_, SUDOKU, box=2) == 0.0


def test_every_board_within_the_rules_is_a_solution():
    loose = {"puzzle": [[0] * 4] * 4, "solution": SOLUTION}
    turned = [list(column) for column in zip(*SOLUTION, strict=True)]
    cyclic = [[(row + column) % 4 + 1 for column in range(4)] for row in range(4)]

    assert puzzles.latin(text(turned), loose, box=2) == 1.0
    assert puzzles.latin(text(cyclic), loose, box=2) < 1.0
    assert puzzles.latin(text(cyclic), loose) == 1.0
    assert puzzles.latin(text(cyclic), loose | {"constraints": [(0, 0, 0, 1, "<")]}) == 1.0
    assert puzzles.latin(text(cyclic), loose | {"constraints": [(0, 0, 0, 1, ">")]}) < 1.0


def test_a_survo_puzzle_may_have_several_solutions():
    puzzle = {"puzzle": [[0, 0, 5], [0, 0, 5], [5, 5, 10]], "candidate_numbers": [2, 3, 3, 2]}

    assert puzzles.survo("2 3 5\n3 2 5\n5 5 10", puzzle)
    assert puzzles.survo("3 2 5\n2 3 5\n5 5 10", puzzle)
    for wrong in (
        "1 4 5\n4 1 5\n5 5 10",
        "0 0 5\n0 0 5\n5 5 10",
        "2 3 5\n3 2 5\n5 5 10 zzz",
        "2 3\n3 2",
        "2 3 5\n2 3 5\n5 5 10",
    ):
        assert not puzzles.survo(wrong, puzzle), wrong


def test_sums_and_letters_decide_not_the_example():
    kakurasu = {"n_rows": 2, "n_cols": 2, "row_sums": [1, 2], "col_sums": [1, 2]}
    sum_ = {"words_letters": ["AB", "CB"], "result_letters": "DE", "allow_leading_zero": False}

    assert puzzles.kakurasu("1 0\n0 1", kakurasu)
    assert not any(
        puzzles.kakurasu(wrong, kakurasu) for wrong in ("0 1\n1 0", "1 0 zzz\n0 1", "1 0\n0 1\n0 0", "1 0 0 1")
    )
    assert puzzles.cryptarithm("A=1,B=2,C=3,D=4,E=4", sum_) is False
    assert puzzles.cryptarithm("A=1,B=3,C=2,D=3,E=6", sum_) is False
    assert puzzles.cryptarithm("A=1, B=4, C=2, E=8, D=3", sum_) is True
    assert puzzles.cryptarithm("A=2,A=1,B=4,C=2,E=8,D=3", sum_) is False
    assert puzzles.cryptarithm("A=1,B=4,C=2,E=8,D=3,F=0", sum_) is False


def test_a_coloring_names_each_vertex_once():
    puzzle = {"puzzle": {"vertices": [0, 1, 2], "edges": [(0, 1), (1, 2)], "color_options": [1, 2]}}

    assert puzzles.graph_color('{"0": 1, "1": 2, "2": 1}', puzzle)
    assert puzzles.graph_color('{"0": 2, "1": 1, "2": 2}', puzzle)
    for wrong in (
        '{"0": 1, "1": 1, "2": 2}',
        '{"0": 1, "1": 2}',
        '{"0": 1, "1": 2, "2": 1, "3": 1}',
        '{"0": true, "1": 2, "2": 1}',
    ):
        assert not puzzles.graph_color(wrong, puzzle), wrong
    with pytest.raises(ValueError, match="twice"):
        puzzles.graph_color('{"0": 2, "0": 1, "1": 2, "2": 1}', puzzle)


def test_groups_are_lists_of_words():
    groups = {"solution": [["a", "b"], ["c"]]}

    assert puzzles.same_groups('[["c"], ["b", "a"]]', groups, ordered=False)
    assert puzzles.same_groups('[["c"], ["a", "b"]]', groups, ordered=True)
    assert not puzzles.same_groups('[["c"], ["b", "a"]]', groups, ordered=True)
    for wrong in (
        '["ab", "c"]',
        '[["a", "b"], ["c"], ["c"]]',
        '[["a", "b"]]',
        '[["a", "b"], ["c"], []]',
        "{}",
        '[["a", 1], ["c"]]',
    ):
        assert not puzzles.same_groups(wrong, groups, ordered=False), wrong


def test_json_has_types():
    assert puzzles.codeio('{"b": [1.0], "a": "x"}', '{"a": "x", "b": [1]}')
    for wrong in ('{"a": "x", "b": [true]}', '{"a": "x", "b": ["1"]}', '{"a": "x"}', '{"a": "x", "b": [1], "c": 0}'):
        assert not puzzles.codeio(wrong, '{"a": "x", "b": [1]}'), wrong
    for bad in ('{"a": 1, "a": 2}', "NaN", "[" * 100 + "]" * 100, '{"a": 1} zzz', "-Infinity"):
        with pytest.raises(ValueError, match=r"twice|no JSON|deep|Extra data"):
            readers.json_value(bad)


def test_a_number_is_nearest_to_the_one_asked_for():
    close = {"candidates": [1000.001, 1000.004], "solution": 1000.004}

    assert puzzles.number_format("1,000.004", close)
    assert puzzles.number_format("1.000004e3", close)
    for wrong in ("1000.001", "1000.02", "1000.001 1000.004", "10,00.004"):
        assert not puzzles.number_format(wrong, close), wrong


def test_conclusions_are_worth_what_they_rule_out():
    items = make("propositional_logic", 24)
    premises = [" \u2227 ".join(f"({premise})" for premise in data(item)["premises"]) for item in items]
    tautologies = earned("propositional_logic", items, ["(P \u2228 \u00acP)"] * 24)
    weak = earned("propositional_logic", items, ["(P \u2228 Q)"] * 24)

    assert tautologies == [0.0] * 24
    assert sum(weak) / 24 < 0.3
    assert sum(earned("propositional_logic", items, premises)) >= 23
    assert max(earned("propositional_logic", items, [f"{text_} zzz" for text_ in premises])) == 0.0
    assert sum(earned("propositional_logic", items, [data(item)["example_answer"] for item in items])) > 0


def rush_hour_solution(board):
    """The shortest solution, as the simulator judges single steps."""
    cars = "ABCDEFGHIJKLM"[: len({*board} - {"o", "x"})]
    queue, seen = deque([()]), {board}
    while queue:
        path = queue.popleft()
        for move in (f"{car}{sign}1" for car in cars for sign in "+-"):
            state = played(board, (*path, move))
            if state is None or state in seen:
                continue
            if simulations.rush_hour(" ".join((*path, move)), {"board_config": board}):
                return " ".join((*path, move))
            seen.add(state)
            queue.append((*path, move))
    return None


def played(board, moves):
    """A board after moves, computed with text alone; None where a move is not legal."""
    labels = sorted({*board} - {"o", "x"})
    for car, sign, _ in moves:
        label = labels[ord(car) - ord("A")]
        places = [i for i, cell in enumerate(board) if cell == label]
        step = places[1] - places[0]
        target = places[-1] + step if sign == "+" else places[0] - step
        if not 0 <= target < 36 or (step == 1 and target // 6 != places[0] // 6) or board[target] != "o":
            return None
        left = places[0] if sign == "+" else places[-1]
        cells = list(board)
        cells[target], cells[left] = label, "o"
        board = "".join(cells)
    return board


def test_cars_move_where_there_is_room_and_no_sweep_frees_them():
    items = make("rush_hour", 3, min_moves=1, max_moves=4)
    solutions = [rush_hour_solution(data(item)["board_config"]) for item in items]
    sweep = " ".join(f"{car}{sign}1" for _ in range(20) for sign in "+-" for car in "BCDEFGHIJKLMA")

    assert earned("rush_hour", items, solutions) == [1.0] * 3
    assert earned("rush_hour", items, [sweep] * 3) == [0.0] * 3
    assert earned("rush_hour", items, [f"{text_} zzz" for text_ in solutions]) == [0.0] * 3
    assert earned("rush_hour", items, [f"first try {text_}" for text_ in solutions]) == [0.0] * 3


def test_the_player_walks_where_there_is_room():
    items = make("sokoban")

    assert earned("sokoban", items, [" ".join(gold(item)) for item in items]) == [1.0] * 4
    assert earned("sokoban", items, [f"LLLLLL{gold(item)}" for item in items]) == [0.0] * 4
    assert earned("sokoban", items, [f"{gold(item)} zzz" for item in items]) == [0.0] * 4
    assert earned("sokoban", items, [f"Answer: {gold(item)}" for item in items]) == [0.0] * 4
    assert not simulations.sokoban("RL", {"gamestr": "+ + + + + +\n+ * @ X - +\n+ + + + + +"})
    assert simulations.sokoban("R", {"gamestr": "+ + + + + +\n+ * @ X - +\n+ + + + + +"})


def test_water_moves_with_every_move():
    puzzle = {"puzzle": {"jug_capacities": [3, 5, 4], "target": 2}}

    assert simulations.jugs('["fill B", "pour B->A"]', puzzle)
    for wrong in (
        '["fill B", "pour B->A", "empty A"]',
        '["empty A", "fill B", "pour B->A"]',
        '["fill B", "fill B", "pour B->A"]',
        '["fill B", "pour A->B", "pour B->A"]',
        '["fill B"]',
        "[]",
    ):
        assert not simulations.jugs(wrong, puzzle), wrong
    assert earned("jugs", make("jugs"), [f"{gold(item)}, zzz" for item in make("jugs")]) == [0.0] * 4


def plan(state):
    """Each box to its target, one step at a time."""
    steps, squares = [], {square: tuple(map(float, square.split("_"))) for square in state}
    for start, color in [(s, item[4:]) for s, items in state.items() for item in items if item.startswith("box_")]:
        goals = [square for square, items in state.items() if f"target_{color}" in items]
        (r, c), (row, column) = squares[start], squares[goals[0]]
        while (r, c) != (row, column):
            here = r, c
            r, c = (r + (1 if row > r else -1), c) if r != row else (r, c + (1 if column > c else -1))
            steps.append({f"Agent[{here[0]}, {here[1]}]": f"move(box_{color}, square[{r}, {c}])"})
        steps.append({f"Agent[{r}, {c}]": f"move(box_{color}, target_{color})"})
    return steps


def test_agents_act_where_they_are_and_no_plan_sweeps_all_boards():
    items = make("boxnet")
    plans = [plan(data(item)["initial_state"]) for item in items]

    assert earned("boxnet", items, [json.dumps(steps) for steps in plans]) == [1.0] * 4
    assert earned("boxnet", items, [json.dumps(steps + steps[-1:]) for steps in plans]) == [0.0] * 4
    assert earned("boxnet", items, [json.dumps(_SWEEP * 3)] * 4) == [0.0] * 4
    assert (
        min(
            earned(
                "boxnet",
                items,
                [
                    json.dumps(
                        steps[: [*map(str, steps)].index(next(s for s in map(str, steps) if "target" in s)) + 1]
                    )
                    for steps in plans
                ],
            )
        )
        > 0.0
    )


def test_other_right_answers_are_paid():
    grids = [item for item in make("shortest_path", 30) if len(gold(item).split()) > 3][:4]
    words = make("palindrome_generation", 4, min_length=6, max_length=9)
    queens = [item for item in make("n_queens", 30) if len(data(item)["valid_answers"]) > 1][:4]
    hanoi = make("tower_of_hanoi", 2, min_disks=3, max_disks=3)
    cubes = make("rubiks_cube", 2)

    assert earned("shortest_path", grids, [other_path(item) for item in grids]) == [1.0] * len(grids)
    assert earned("palindrome_generation", words, [other_palindrome(gold(item)) for item in words]) == [1.0] * 4
    assert earned("n_queens", queens, [data(item)["valid_answers"][-1] for item in queens]) == [1.0] * len(queens)
    assert earned("tower_of_hanoi", hanoi, [gold(item).replace("\n", "\n\n") for item in hanoi]) == [1.0] * 2
    assert earned("rubiks_cube", cubes, [data(item)["example_correct_answer"] for item in cubes]) == [1.0] * 2


def other_palindrome(word):
    half = word[: len(word) // 2]
    return half[::-1] + word[len(word) // 2 : (len(word) + 1) // 2] + half


def other_path(item):
    """The shortest path that turns first where the gold turns last."""
    matrix, steps = data(item)["matrix"], {"up": (-1, 0), "left": (0, -1), "down": (1, 0), "right": (0, 1)}
    cells = {(r, c): cell for r, row in enumerate(matrix) for c, cell in enumerate(row) if cell != "X"}
    queue = deque([(next(at for at, cell in cells.items() if cell == "*"), ())])
    seen = set()
    while queue:
        (r, c), path = queue.popleft()
        if cells[r, c] == "#":
            return " ".join(path)
        for name, (down, right) in steps.items():
            at = (r + down, c + right)
            if at in cells and at not in seen:
                seen.add(at)
                queue.append((at, (*path, name)))
    return "infeasible"


HAZARDS = [
    "9**9**9", "9" * 4000, "(" * 2000 + ")" * 2000, "\u00ac" * 399 + "P", "R9999999", "-" * 4000, "A+5 " * 1000,
    "[" * 2000, '{"a":' * 700 + "1" + "}" * 700, "1e999999999", "1e-999999999", "1," * 2000, " ".join("1" * 2000),
    "P\u2192" * 190 + "P", "1 " + "\t " * 2000 + "x", "Move disk 1 from Peg 1 to Peg 2" + " " * 3000 + "x",
    "0 days, " * 400, "LRUD" * 1000,
]  # fmt: skip
FRAGILE = ["complex_arithmetic", "jugs", "propositional_logic", "rubiks_cube", "simple_integration", "sokoban",
           "time_intervals", "tower_of_hanoi"]  # fmt: skip


@pytest.mark.parametrize("task", FRAGILE)
def test_nothing_brings_a_scorer_down(task):
    assert earned(task, make(task, 1) * len(HAZARDS), HAZARDS) == [0.0] * len(HAZARDS)


def test_numbers_that_sympy_would_write_out_are_refused():
    for answer in ("1e999999999", "x + 1e-999999999", "1.e5000*x", "2E100"):
        assert not is_admissible("simple_integration", answer, "")
    assert is_admissible("simple_integration", "1e5*x + 1.5e-3 + E**(2*x)", "")
