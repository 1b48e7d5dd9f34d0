"""The recipe on three datasets, stopped half-way and resumed."""

import json
import runpy
import sys
from functools import partial
from pathlib import Path

import pytest
from conftest import make_model, make_tokenizer

from mot_trl.recipes.reasoning_gym import TaskConfig
from mot_trl.tasks import reasoning_gym
from mot_trl.tasks.reasoning_gym.curriculum import Curriculum
from mot_trl.trainer import script_utils

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "reasoning_gym.py"
TASKS = ["gcd", "chain_sum", "number_sequence"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    path = tmp_path_factory.mktemp("tiny")
    make_model("llama", max_position_embeddings=1024).save_pretrained(path)
    make_tokenizer().save_pretrained(path)
    return path


def run_recipe(monkeypatch, model, output, *options, last=4, solved=False):
    """What the recipe trained on, by step, and its log."""
    questions: dict[int, list] = {}
    monkeypatch.setattr(sys, "argv", [str(RECIPE)])
    recipe = runpy.run_path(str(RECIPE))
    arguments = f"""--model_name_or_path {model} --output_dir {output} --task {" ".join(TASKS)} --eval_size 6
        --max_steps {last} --save_steps 2 --eval_steps 2 --max_completion_length 8 --num_generations 2
        --per_device_train_batch_size 4 --gradient_accumulation_steps 1 --per_device_eval_batch_size 6
        --use_cpu --bf16 False --report_to none --logging_steps 1 --mixture_k 2 --disable_tqdm True""".split()
    monkeypatch.setattr(sys, "argv", [str(RECIPE), *arguments, *options])
    config, model_config, data = script_utils.parse(recipe["DEFAULTS"], TaskConfig)
    with monkeypatch.context() as patched:
        patched.setattr(reasoning_gym.ReasoningGymReward, "__call__", _recording(questions, solved))
        recipe["main"](config, model_config, data)
    log = json.loads((Path(output) / f"checkpoint-{last}" / "trainer_state.json").read_text())["log_history"]
    return questions, log


def _recording(questions, solved):
    call = reasoning_gym.ReasoningGymReward.__call__

    def recorded(self, completions, **columns):
        questions.setdefault(columns["trainer_state"].global_step, []).append(columns["question"])
        if solved:
            completions = [f"<answer>{answer}</answer>" for answer in columns["answer"]]
        return call(self, completions, **columns)

    return recorded


@pytest.mark.slow
@pytest.mark.parametrize(
    "rows", [["--train_size", "40"], ["--train_size", "0"], ["--curriculum", "--shuffle_dataset", "False"]]
)
def test_a_resumed_run_of_the_recipe_sees_the_items_it_would_have_seen(monkeypatch, tiny, tmp_path, rows):
    whole, log = run_recipe(monkeypatch, tiny, tmp_path / "run", *rows)
    checkpoint = str(tmp_path / "run" / "checkpoint-2")

    resumed, resumed_log = run_recipe(
        monkeypatch, tiny, tmp_path / "run", *rows, "--resume_from_checkpoint", checkpoint
    )

    assert sorted(whole) == [0, 1, 2, 3, 4]
    # Step 2 starts with the evaluation that precedes the checkpoint, and step 4 is the last evaluation.
    assert resumed[3] == whole[3]
    assert resumed[2] == whole[2][-len(resumed[2]) :]
    assert len({question for step in whole.values() for batch in step for question in batch}) > 8
    logged = {name for entry in log for name in entry}
    assert {f"eval_{task}_accuracy" for task in TASKS} <= logged
    assert {f"{task}_accuracy" for task in TASKS} <= logged
    assert ("gcd_level" in logged) == ("--curriculum" in rows)
    assert len(resumed_log) == len(log)


@pytest.mark.slow
def test_a_resumed_run_goes_on_with_the_levels_it_had_reached(monkeypatch, tiny, tmp_path):
    monkeypatch.setitem(Curriculum.__init__.__kwdefaults__, "window", 1)
    options = ["--curriculum", "--shuffle_dataset", "False", "--eval_strategy", "no"]
    run = partial(run_recipe, monkeypatch, tiny, tmp_path / "run", *options, last=10, solved=True)

    whole, log = run()
    resumed, resumed_log = run("--resume_from_checkpoint", str(tmp_path / "run" / "checkpoint-6"))

    assert resumed == {step: questions for step, questions in whole.items() if step >= 6}
    levels = [entry["gcd_level"] for entry in log if "gcd_level" in entry]
    assert levels == sorted(levels)
    assert levels[0] == 0 < levels[-1]
    assert levels == [entry["gcd_level"] for entry in resumed_log if "gcd_level" in entry]
