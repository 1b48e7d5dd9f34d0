import itertools
import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest

from mot_trl.sandbox import codec
from mot_trl.tasks import reasoning_gym
from mot_trl.tasks.reasoning_gym.dataset import Part, load, split_of, stream
from mot_trl.tasks.reasoning_gym.generator import Generator


def take(rows, count):
    return list(itertools.islice(iter(rows), count))


def test_rows_are_the_items_of_reasoning_gym_in_its_order():
    rows = load("chain_sum", size=30, seed=5)
    items = reasoning_gym.GENERATOR.items("chain_sum", {}, seed=5, indices=range(60))

    expected = [item.entry["question"] for item in items if split_of(item.entry["question"]) == "train"][:30]

    assert rows["question"] == expected
    assert rows.column_names == ["prompt", "question", "answer", "task", "entry"]
    assert rows[0]["prompt"] == [{"role": "user", "content": f"{rows[0]['question']}\n\n{reasoning_gym.INSTRUCTION}"}]


@pytest.mark.parametrize("task", ["chain_sum", "coin_flip", "leg_counting", "acre"])
def test_no_question_is_in_both_splits_whatever_the_seeds(task):
    train = set(load(task, size=150, seed=42)["question"]) | set(load(task, size=150, seed=47)["question"])
    test = set(load(task, size=20, seed=42, split="test")["question"])
    test |= set(load(task, size=20, seed=60, split="test")["question"])

    assert train
    assert test
    assert not train & test


def test_questions_that_differ_in_space_and_case_are_one():
    for number in range(40):
        assert split_of(f"What is {number}?") == split_of(f" what IS\n  {number}?\n")
    assert {split_of(str(number)) for number in range(50)} == {"train", "test"}


def test_a_dataset_with_too_few_questions_is_refused():
    only = reasoning_gym.GENERATOR.items("count_bits", {"min_n": 5, "max_n": 5}, seed=1, indices=[0])[0]
    here = split_of(only.entry["question"])
    missing = "test" if here == "train" else "train"

    assert load("count_bits", size=1, split=here, min_n=5, max_n=5)["answer"] == ["2"]
    with pytest.raises(ValueError, match=f"no question of the {missing} split.*too few different questions"):
        load("count_bits", size=1, split=missing, min_n=5, max_n=5)


_DIGEST = """
import hashlib, sys
from mot_trl.tasks.reasoning_gym.dataset import load
for task in sys.argv[1:]:
    print(task, hashlib.sha256(repr(load(task, size=3).to_list()).encode()).hexdigest())
"""


@pytest.mark.slow
def test_rows_are_the_same_in_every_process():
    # Datasets whose items follow the order of sets of strings.
    tasks = ["isomorphic_strings", "ransom_note", "word_ladder"]

    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _DIGEST, *tasks],
            env={**os.environ, "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "2")
    ]

    first, second = (process.communicate()[0] for process in processes)

    assert first.count("\n") == len(tasks)
    assert first == second


def test_items_do_not_depend_on_those_asked_for_before():
    other = Generator()

    for task in ("word_ladder", "arc_agi", "rearc", "sokoban", "codeio"):
        first = reasoning_gym.GENERATOR.items(task, {}, seed=3, indices=[0, 1, 2])
        second = other.items(task, {}, seed=3, indices=[2, 1, 0])[::-1]

        assert first == second, task
    other.close()


def test_loading_costs_few_round_trips(monkeypatch):
    asked = []
    ask = reasoning_gym.GENERATOR._ask
    monkeypatch.setattr(reasoning_gym.GENERATOR, "_ask", lambda *name, **rest: asked.append(1) or ask(*name, **rest))

    load("chain_sum", size=200)

    # Four, but a slow machine gets fewer items in a moment.
    assert len(asked) < 100


def test_a_level_that_changes_takes_up_the_numbering_where_the_last_one_left_it():
    def level(_task, row):
        return row // 3 % 3

    rows = list(itertools.islice(stream("chain_sum", seed=5, level=level), 12))

    index = 0
    for number, row in enumerate(rows):
        while True:
            (item,) = reasoning_gym.GENERATOR.items("chain_sum", {}, seed=5, indices=[index], level=level("", number))
            index += 1
            if split_of(item.entry["question"]) == "train":
                break
        assert (row["question"], row["level"]) == (item.entry["question"], level("", number))


def test_tuples_sets_and_number_keys_survive_datasets():
    for task in ("rearc", "graph_color", "tower_of_hanoi"):
        item = reasoning_gym.GENERATOR.items(task, {}, seed=42, indices=[0])[0]
        rows = load(task, size=8).map(lambda row: row)

        entries = [codec.decode(json.loads(text))["entry"] for text in rows["entry"]]

        assert {name: value for name, value in item.entry.items() if name != "question"} in entries, task


def test_a_fraction_among_the_variables_is_text():
    (item,) = reasoning_gym.GENERATOR.items("gsm_symbolic", {}, seed=1000, indices=[11])

    assert item.entry["metadata"]["variables"]["initial_fraction"] == "1/2"
    assert codec.decode(json.loads(reasoning_gym.row("gsm_symbolic", item)["entry"]))["entry"]["answer"] == "0"


def test_a_mixture_follows_its_weights_at_every_length():
    rows = load({"chain_sum": 3, "gcd": 1}, size=40)

    counts = Counter(rows["task"])
    halfway = Counter(rows["task"][:20])

    assert counts == {"chain_sum": 30, "gcd": 10}
    assert halfway == {"chain_sum": 15, "gcd": 5}


def test_parts_of_a_mixture_have_the_rows_they_have_alone():
    alone = load("gcd", size=10, seed=9)["question"]

    rows = load([Part("chain_sum", 2.0), Part("gcd")], size=30, seed=9)

    assert [row["question"] for row in rows if row["task"] == "gcd"] == alone


def test_a_stream_gives_the_rows_of_load_and_goes_on():
    loaded = load(["chain_sum", "gcd"], size=50).to_list()

    streamed = take(stream(["chain_sum", "gcd"]), 60)

    assert streamed[:50] == loaded


def test_a_stream_resumes_where_it_stopped():
    whole = take(stream("chain_sum"), 30)
    rows = stream("chain_sum")

    before = []
    for row in rows:
        before.append(row)
        if len(before) == 12:
            state = rows.state_dict()
            break
    resumed = stream("chain_sum")
    resumed.load_state_dict(state)

    assert before + take(resumed, 18) == whole


@pytest.mark.parametrize("suite", ["five", "ten"])
def test_suites_make_rows_quickly(suite):
    rows = load(suite, size=20)

    assert set(rows["task"]) == {part.task for part in reasoning_gym.SUITES[suite]}


def test_the_suite_of_the_paper_has_its_settings():
    parts = {part.task: part for part in reasoning_gym.SUITES["ten"]}

    assert len(parts) == 10
    assert parts["shortest_path"].config == {"p_blocked": 0.1, "min_rows": 3, "min_cols": 3}
    assert parts["family_relationships"].config == {"min_family_size": 8, "max_family_size": 12}
    assert parts["maze"].weight == parts["acre"].weight / 2


def test_number_sequence_does_not_square_for_twenty_seconds():
    start = time.monotonic()

    item = reasoning_gym.GENERATOR.items("number_sequence", {}, seed=42, indices=[121])[0]

    assert item.entry["answer"].lstrip("-").isdigit()
    assert time.monotonic() - start < 15


def test_a_later_item_that_never_comes_costs_none_of_those_before(monkeypatch):
    ask = reasoning_gym.GENERATOR._ask

    def hang_at_the_second(name, *, indices, **request):
        if 1 in indices:
            raise TimeoutError
        return ask(name, indices=indices, **request)

    monkeypatch.setattr(reasoning_gym.GENERATOR, "_ask", hang_at_the_second)

    made = reasoning_gym.GENERATOR.some("gcd", {}, seed=1, indices=range(5))

    assert len(made) == 1
    with pytest.raises(TimeoutError):
        reasoning_gym.GENERATOR.some("gcd", {}, seed=1, indices=[1])


@pytest.mark.slow
def test_a_generator_that_never_ends_is_stopped_and_the_next_item_comes():
    generator = Generator(timeout=2)
    generator.names()
    small = {"min_w": 3, "max_w": 3, "min_h": 3, "max_h": 3}

    with pytest.raises(TimeoutError, match=r"sokoban with .*'max_h': 3"):
        generator.items("sokoban", small, seed=42, indices=[0])

    assert generator.items("gcd", {}, seed=42, indices=[0])[0].entry["answer"].isdigit()
    generator.close()


def made_and_maker():
    made = reasoning_gym.GENERATOR.items("gcd", {}, seed=1, indices=[0])
    return made, reasoning_gym.GENERATOR._process.pid


@pytest.mark.filterwarnings("ignore:This process")
@pytest.mark.slow
def test_a_fork_and_the_parent_of_a_killed_process_start_their_own():
    before = made_and_maker()

    with multiprocessing.get_context("fork").Pool(1) as forks:
        forked = forks.apply(made_and_maker)
        assert made_and_maker() == before
    reasoning_gym.GENERATOR._process.kill()
    reasoning_gym.GENERATOR._process.wait()
    again = made_and_maker()

    assert before[0] == forked[0] == again[0]
    assert len({before[1], forked[1], again[1]}) == 3


@pytest.mark.slow
def test_a_process_that_ends_while_it_makes_an_item_is_told():
    generator = Generator()
    generator.names()
    threading.Timer(1.0, generator._process.kill).start()

    with pytest.raises(RuntimeError, match=r"process ended making sokoban with .*'max_h': 3"):
        generator.items("sokoban", {"min_w": 3, "max_w": 3, "min_h": 3, "max_h": 3}, seed=42, indices=[0])

    assert generator.levels("gcd") > 0
    generator.close()


@pytest.mark.parametrize(
    ("mixture", "options", "message"),
    [
        ("no_such_set", {}, "no_such_set"),
        ("maze", {"max_dist": -1}, r"maze with \{'max_dist': -1\}"),
        ("ten", {"max_dist": 3}, "one dataset only"),
        ("maze", {"size": 0}, "`size` is 0"),
        ("maze", {"split": "dev"}, "Unknown split 'dev'"),
        (["maze", "maze"], {}, "each once"),
        ({"maze": -1.0}, {}, "weight of maze is -1"),
        ([], {}, "needs datasets"),
    ],
)
def test_what_cannot_be_loaded_is_refused_with_its_reason(mixture, options, message):
    with pytest.raises(ValueError, match=message):
        load(mixture, **{"size": 2, **options})


def test_importing_the_task_is_light():
    heavy = {"torch", "datasets", "transformers", "numpy", "reasoning_gym"}
    code = f"import sys, mot_trl.tasks.reasoning_gym; print({heavy} & set(sys.modules))"

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert loaded.strip() == "set()"
