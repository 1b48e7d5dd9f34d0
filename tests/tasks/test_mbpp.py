"""MBPP: its own solutions pass, wrong ones do not, and the rewards keep to TRL's convention."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from mot_trl.rewards import code as programs
from mot_trl.sandbox import Job, ProgramRunner
from mot_trl.tasks import mbpp

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT / ".." / "shared" / "data"

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="programs are confined on Linux only"),
    pytest.mark.filterwarnings("ignore:The sandbox runs with fewer layers"),
]


def answer(code: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": f"<think>Hm.</think>Here:\n```python\n{code}\n```\nDone."}]


def columns(rows, index: int, copies: int) -> dict[str, list]:
    return {name: [rows[index][name]] * copies for name in rows.column_names if name != "prompt"}


def references(path: Path) -> list[str]:
    return [json.loads(line)["code"] for line in path.read_text().splitlines()]


def test_rows_have_a_prompt_and_what_the_rewards_need():
    rows = mbpp.load("train", mbpp.FIXTURE)

    assert rows.column_names == list(programs.COLUMNS)
    assert rows[0]["prompt"][0]["role"] == "user"
    assert rows[0]["tests"][0] in rows[0]["prompt"][0]["content"]
    assert rows[0]["tests"][1] not in rows[0]["prompt"][0]["content"]


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_rows_own_solutions_earn_everything(split):
    rows = mbpp.load(split, mbpp.FIXTURE)
    completions = [answer(code) for code in references(mbpp.FIXTURE / f"{split}.jsonl")]
    asked = {name: rows[name] for name in rows.column_names if name != "prompt"}

    for reward in (mbpp.tests_pass, mbpp.tests_fraction, mbpp.runs, mbpp.compiles, mbpp.has_code_block):
        assert reward(completions=completions, **asked) == [1.0] * len(rows)


def test_each_reward_asks_for_less_than_the_one_before():
    rows = mbpp.load("train", mbpp.FIXTURE).filter(lambda row: row["task_id"] == 602)
    right = "def first_repeated_char(s):\n    return next((c for i, c in enumerate(s) if c in s[:i]), 'None')"
    completions = [
        answer(right),
        answer("def first_repeated_char(s):\n    return 'a'"),
        answer("def first_repeated_char(s):\n    raise ValueError"),
        answer("def first_repeated_char(s)"),
        "no code here",
    ]
    asked = columns(rows, 0, len(completions))

    earned = [
        reward(completions=completions, **asked)
        for reward in (mbpp.tests_pass, mbpp.tests_fraction, mbpp.runs, mbpp.compiles, mbpp.has_code_block)
    ]

    assert earned[0] == [1, 0, 0, 0, 0]
    assert earned[1] == [1, pytest.approx(1 / 3), 0, 0, 0]
    assert earned[2] == [1, 1, 0, 0, 0]
    assert earned[3] == [1, 1, 1, 0, 0]
    assert earned[4] == [1, 1, 1, 1, 0]


def test_a_program_that_redefines_builtins_changes_no_test():
    rows = mbpp.load("train", mbpp.FIXTURE).filter(lambda row: row["task_id"] == 602)
    cheat = "def first_repeated_char(s):\n    return 0\n\ndef str(*_):\n    return 0\n\nlen = set = str"

    assert mbpp.tests_pass(completions=[answer(cheat)], **columns(rows, 0, 1)) == [0.0]


def test_what_cannot_be_judged_is_none_and_counted():
    rows = mbpp.load("train", mbpp.FIXTURE)
    asked = {**columns(rows, 0, 2), "tests": [["assert ("], rows[0]["tests"]]}
    seen = {}

    with pytest.warns(UserWarning, match="1 programs could not be judged"):
        rewards = mbpp.tests_pass(completions=[answer("pass")] * 2, log_metric=seen.__setitem__, **asked)

    assert rewards == [None, 0.0]
    assert seen["programs/unjudged"] == 1
    assert seen["programs/crashed"] == 0.5


def test_rewards_have_names_and_can_be_pickled():
    rewards = [mbpp.tests_pass, mbpp.tests_fraction, mbpp.runs, mbpp.compiles, mbpp.has_code_block]

    assert [r.__name__ for r in rewards] == ["tests_pass", "tests_fraction", "runs", "compiles", "has_code_block"]
    assert pickle.loads(pickle.dumps(rewards)) == rewards


def test_several_rewards_run_a_program_once(monkeypatch):
    rows = mbpp.load("train", mbpp.FIXTURE)
    asked = columns(rows, 0, 3)
    runs: list[int] = []
    real = ProgramRunner.run_many
    monkeypatch.setattr(ProgramRunner, "run_many", lambda self, jobs: runs.append(len(jobs)) or real(self, jobs))

    for reward in (mbpp.tests_pass, mbpp.runs, mbpp.compiles):
        reward(completions=[answer("x = 12345")] * 3, **asked)

    assert sum(runs) == 1


@pytest.mark.parametrize("arguments", [{"earns": "money"}, {"earns": "tests_pass", "scoring": "some"}])
def test_unknown_rewards_are_refused(arguments):
    with pytest.raises(ValueError, match="Unknown"):
        programs.ProgramReward(**arguments)


def test_a_reference_with_a_dubious_escape_loads_without_a_warning(tmp_path):
    row = {"task_id": 1, "text": "Match.", "code": "P = '\\w'", "test_list": ["assert P"], "test_setup_code": ""}
    (tmp_path / "train.jsonl").write_text(json.dumps(row) + "\n")

    assert mbpp.load("train", tmp_path)["entry_points"] == [[["P", "P"]]]


def test_rows_of_another_dataset_are_refused(tmp_path):
    (tmp_path / "train.jsonl").write_text('{"question": "?"}\n')

    with pytest.raises(ValueError, match="test_list"):
        mbpp.load("train", tmp_path)


GOOD = {
    "task_id": 7,
    "text": "Add.",
    "code": "def add(a, b):\n    return a + b",
    "test_list": ["assert add(1, 2) == 3"],
}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"test_list": None}, "`test_list` is empty"),
        ({"test_list": []}, "`test_list` is empty"),
        ({"test_list": "assert add(1, 2) == 3"}, "`test_list` must be a list of texts"),
        ({"test_list": [1, 2]}, "`test_list` must be a list of texts"),
        ({"test_list": ["assert add(1, 2 == 3"]}, "never closed"),
        ({"test_list": ["assert add(1, 2) == 3", ""]}, "test '' checks nothing"),
        ({"test_list": ["# assert add(1, 2) == 3"]}, "checks nothing"),
        ({"test_list": ["add(1, 2) == 3"]}, "checks nothing"),
        ({"test_list": ["print(add(1, 2) == 3)"]}, "checks nothing"),
        ({"test_list": ["assert True"]}, "checks nothing"),
        ({"test_list": ["assert add"]}, "checks nothing"),
        ({"test_list": ["assert sum([1, 2]) == 3"]}, "checks nothing"),
        ({"test_list": ["def test_add():\n    assert add(1, 2) == 3"]}, "checks nothing"),
        ({"test_list": ["if False:\n    assert add(1, 2) == 3"]}, "checks nothing"),
        ({"test_list": ["assert add(1, 2) == add(1, 2)"]}, "checks nothing"),
        ({"challenge_test_list": ["pass"]}, "checks nothing"),
        ({"challenge_test_list": 3}, "`challenge_test_list` must be a list"),
        ({"code": None}, "checks nothing that its `code` defines"),
        ({"code": "def add(a, b:"}, "never closed|invalid syntax"),
        ({"code": 5}, "`code` must be text"),
        ({"code": "from operator import add"}, "checks nothing that its `code` defines"),
        ({"text": None}, "needs a task"),
        ({"text": 3}, "`text` must be text"),
        ({"test_setup_code": 3}, "`test_setup_code` must be text"),
        ({"test_setup_code": "x ="}, "invalid syntax"),
        ({"test_imports": "import math"}, "`test_imports` must be a list"),
    ],
)
def test_a_broken_row_is_named_with_what_is_wrong(tmp_path, change, words):
    (tmp_path / "train.jsonl").write_text(json.dumps({**GOOD, **change}) + "\n")

    with pytest.raises(ValueError, match=f"row 7 cannot be used.*({words})"):
        mbpp.load("train", tmp_path)


def test_challenge_tests_count_and_are_not_shown(tmp_path):
    row = {**GOOD, "challenge_test_list": ["assert add('a', 'b') == 'ab'"]}
    (tmp_path / "train.jsonl").write_text(json.dumps(row) + "\n")

    (loaded,) = mbpp.load("train", tmp_path, shown=3)

    assert loaded["tests"] == [*GOOD["test_list"], *row["challenge_test_list"]]
    assert "'ab'" not in loaded["prompt"][0]["content"]


def test_names_come_from_the_program_however_the_reference_defines_them(tmp_path):
    fallback = "try:\n    import nosuch\nexcept ImportError:\n    def f():\n        return 1\n"
    code = f"{fallback}A, B = 1, 2\nfrom math import pi\n"
    row = {**GOOD, "code": code, "test_list": ["assert f() == A == B - 1", "assert f() < pi"]}
    (tmp_path / "train.jsonl").write_text(json.dumps(row) + "\n")

    (loaded,) = mbpp.load("train", tmp_path)

    assert loaded["entry_points"] == [["A", "A"], ["B", "B"], ["f", "f"]]
    assert "from math import pi" in loaded["setup"]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "least"), [("mbpp", 974), ("mbpp_sanitized", 427)])
def test_the_whole_datasets_own_solutions_pass(name, least):
    path = SHARED / name / "all.jsonl"
    if not path.exists():
        pytest.skip(f"no {name} on this machine")
    rows = mbpp.load("all", path)
    jobs = [programs.job(code, row) for code, row in zip(references(path), rows, strict=True)]

    with ProgramRunner(timeout=30.0) as runner:
        results = runner.run_many(jobs)

    failed = [row["task_id"] for row, result in zip(rows, results, strict=True) if not result.passed]
    assert len(rows) - len(failed) >= least, failed


@pytest.mark.slow
def test_a_wrong_solution_never_passes_for_another_task():
    path = SHARED / "mbpp_sanitized" / "all.jsonl"
    if not path.exists():
        pytest.skip("no MBPP on this machine")
    rows = list(mbpp.load("all", path))[:60]
    codes = references(path)[:60]
    # The neighbor's solution, under this task's name.
    jobs = [
        Job(
            f"{codes[i - 1]}\n{row['entry_points'][0][0]} = {rows[i - 1]['entry_points'][0][0]}\n",
            tuple(row["tests"]),
            ((row["entry_points"][0][0],) * 2,),
            setup=row["setup"],
        )
        for i, row in enumerate(rows)
    ]

    with ProgramRunner(timeout=5.0) as runner:
        results = runner.run_many(jobs)

    assert not any(result.passed for result in results)
    assert all(result.judged for result in results)


def _code_writing_model(folder: Path) -> None:
    """A tiny random model whose tokens are pieces of programs: by chance, some of what it says compiles."""
    programs = ["def f(x):\n    return x", "x = 1", "pass", "raise"]
    pieces = [*(f"\n```python\n{program}\n```\n" for program in programs), "```\n", "f("]
    specials = ["<|pad|>", "<|im_start|>", "<|im_end|>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*specials, *letters])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<|pad|>", eos_token="<|im_end|>")
    tokenizer.add_tokens(pieces)
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        pad_token_id=0,
        eos_token_id=2,
        bos_token_id=1,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    # The pieces are likelier than the letters, which are most of the vocabulary.
    with_pieces = model.lm_head.weight.data
    with_pieces[: len(vocabulary)] *= 0.01
    with_pieces[len(vocabulary) :] *= 40
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.mark.slow
def test_the_recipe_trains_a_tiny_model_on_a_cpu(tmp_path):
    _code_writing_model(tmp_path / "model")
    flags = (
        f"--model_name_or_path {tmp_path / 'model'} --data_path {mbpp.FIXTURE} --output_dir {tmp_path / 'out'} "
        "--max_steps 20 --num_generations 4 --per_device_train_batch_size 4 --gradient_accumulation_steps 1 "
        "--max_completion_length 24 --use_cpu --bf16 false --report_to none --log_completions false "
        "--gradient_checkpointing false --save_steps 20 --learning_rate 1e-3 --dtype float32 "
        "--max_mixture_tokens 4"
    )

    done = subprocess.run(
        [sys.executable, str(ROOT / "recipes" / "mbpp.py"), *flags.split()],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )

    assert done.returncode == 0, done.stderr[-3000:]
    (state,) = (tmp_path / "out").glob("checkpoint-20/trainer_state.json")
    logs = [each for each in json.loads(state.read_text())["log_history"] if "rewards/has_code_block/mean" in each]
    assert len(logs) == 20, done.stdout[-3000:]
    assert {"rewards/tests_pass/mean", "programs/seconds"} <= set(logs[0])
    assert any(each["rewards/compiles/mean"] for each in logs), "no program reached the sandbox"
    assert (tmp_path / "out" / "model.safetensors").exists()
