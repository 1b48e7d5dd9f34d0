import copy
import itertools
import json

import pytest
from transformers import TrainerControl, TrainerState
from trl import GRPOConfig

from mot_trl.sandbox import codec
from mot_trl.tasks import reasoning_gym
from mot_trl.tasks.reasoning_gym import score, stream
from mot_trl.tasks.reasoning_gym.callback import CurriculumCallback, rows_drawn, training_data
from mot_trl.tasks.reasoning_gym.curriculum import Curriculum


def read(curriculum, accuracies, task="gcd", start=1):
    for step, accuracy in enumerate(accuracies, start=start):
        curriculum.read({"step": step, f"{task}_accuracy": accuracy}, lambda step: 10 * step)


def levels(curriculum, rows, task="gcd"):
    return [curriculum(task, row) for row in rows]


def test_the_level_rises_with_success_from_a_later_row_on():
    curriculum = Curriculum(["gcd"], window=2, raise_at=0.8)

    read(curriculum, [0.9, 0.6, 1.0, 0.5])

    assert levels(curriculum, [0, 29, 30, 1000]) == [0, 0, 1, 1]


def test_the_level_falls_with_failure_but_not_below_the_first():
    curriculum = Curriculum(["gcd"], start=1, window=1, lower_at=0.2)

    read(curriculum, [0.1, 0.1])

    assert levels(curriculum, [0, 9, 10, 20]) == [1, 1, 0, 0]


def test_the_level_stops_at_the_top():
    curriculum = Curriculum(["gcd"], window=1, max_level=1)

    read(curriculum, [1.0] * 5)

    assert curriculum("gcd", 1000) == 1


def test_a_change_starts_the_window_again():
    curriculum = Curriculum(["gcd"], window=3)

    read(curriculum, [1.0] * 5)

    assert curriculum("gcd", 1000) == 1


def test_each_dataset_has_a_level_of_its_own_and_one_without_curriculum_has_none():
    curriculum = Curriculum(["gcd", "lcm", "acre"], window=1)

    read(curriculum, [1.0])
    read(curriculum, [1.0], task="acre")

    assert [curriculum(task, 1000) for task in ("gcd", "lcm", "acre")] == [1, 0, None]


def test_entries_without_an_accuracy_are_passed_over():
    curriculum = Curriculum(["gcd"], window=1)

    for entry in ({"step": 1, "loss": 0.1}, {"step": 2, "gcd_accuracy": None}, {"step": 3, "eval_gcd_accuracy": 1.0}):
        curriculum.read(entry, lambda step: 10 * step)

    assert curriculum("gcd", 1000) == 0


def test_a_copy_hears_of_the_log():
    curriculum = Curriculum(["gcd"], window=1)
    copied = copy.deepcopy(curriculum)

    read(curriculum, [1.0])

    assert copied("gcd", 1000) == 1


@pytest.mark.parametrize("settings", [{"raise_at": 0.1, "lower_at": 0.5}, {"window": 0}, {"start": -1}])
def test_settings_out_of_order_are_refused(settings):
    with pytest.raises(ValueError, match="must be below"):
        Curriculum(["gcd"], **settings)


def test_a_stream_follows_the_levels_and_its_rows_can_be_scored():
    easy = Curriculum(["gcd"], window=1)
    harder = Curriculum(["gcd"], window=1)
    read(harder, [1.0])

    before, after = (list(itertools.islice(stream("gcd", level=level), 16)) for level in (easy, harder))

    assert before[:10] == after[:10]
    assert [row["level"] for row in after] == [0] * 10 + [1] * 6
    settings = [codec.decode(json.loads(row["entry"]))["config"] for row in after]
    assert settings[9] != settings[10]
    numbers = reasoning_gym.GENERATOR.items("gcd", {}, seed=42, indices=[0], level=1)[0].config
    assert settings[10] == numbers
    wrong = [f"<answer>{row['answer']}0</answer>" for row in after]
    assert score(wrong, task=["gcd"] * 16, entry=[row["entry"] for row in after]) == [0.0] * 16


def test_rows_do_not_depend_on_when_the_level_was_asked_for():
    known, learnt = Curriculum(["gcd"], window=1), Curriculum(["gcd"], window=1)
    read(known, [1.0, 1.0])
    expected = list(itertools.islice(stream("gcd", level=known), 30))

    rows = []
    for number, row in enumerate(stream("gcd", level=learnt)):
        rows.append(row)
        if number in (3, 7):
            read(learnt, [1.0], start=1 if number == 3 else 2)
        if len(rows) == 30:
            break

    assert rows == expected


def make_config(tmp_path, **settings):
    return GRPOConfig(
        output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to="none", per_device_train_batch_size=4,
        num_generations=2, shuffle_dataset=False, **settings,
    )  # fmt: skip


def test_rows_drawn_counts_generations_and_not_their_reuse(tmp_path):
    once = make_config(tmp_path, gradient_accumulation_steps=2)
    twice = make_config(tmp_path, gradient_accumulation_steps=2, num_iterations=2)

    # A generation takes 8 completions, so 4 rows; three more generations may be under way.
    assert [rows_drawn(once, step) for step in (0, 1, 2)] == [12, 16, 20]
    assert [rows_drawn(twice, step) for step in (0, 1, 2)] == [12, 12, 16]


def test_a_resumed_callback_reads_the_log_of_the_checkpoint(tmp_path):
    args = make_config(tmp_path)
    log = [{"step": step, "gcd_accuracy": 1.0} for step in (1, 2, 3)]
    live, resumed = Curriculum(["gcd"], window=1), Curriculum(["gcd"], window=1)
    callback = CurriculumCallback(live)
    callback.on_train_begin(args, TrainerState(), TrainerControl())

    for step in (1, 2, 3):
        callback.on_log(args, TrainerState(log_history=log[:step]), TrainerControl())
    CurriculumCallback(resumed).on_train_begin(args, TrainerState(log_history=log), TrainerControl())

    assert levels(live, range(60)) == levels(resumed, range(60))
    assert len(set(levels(live, range(60)))) > 2


def test_a_shuffled_stream_is_refused(tmp_path):
    args = make_config(tmp_path)
    args.shuffle_dataset = True

    with pytest.raises(ValueError, match="shuffle_dataset=False"):
        CurriculumCallback(Curriculum(["gcd"])).on_train_begin(args, TrainerState(), TrainerControl())


def test_training_data_has_a_curriculum_only_if_asked_for():
    plain = training_data("gcd", size=3)
    endless = training_data("gcd", size=0)
    harder = training_data(["gcd", "lcm"], size=0, curriculum=True)

    assert len(plain["train_dataset"]) == 3
    assert plain["callbacks"] == endless["callbacks"] == []
    assert "level" not in next(iter(endless["train_dataset"]))
    assert next(iter(harder["train_dataset"]))["level"] == 0
    assert isinstance(harder["callbacks"][0], CurriculumCallback)
