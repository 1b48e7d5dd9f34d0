"""Evaluations agree with themselves, whatever interrupts them, and load what people have."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from conftest import make_model, make_tokenizer
from peft import LoraConfig, get_peft_model
from torch import nn

from mot_trl import evaluation
from mot_trl.evaluation.records import Records, Sample
from mot_trl.evaluation.run import EvaluationConfig, load_task
from mot_trl.evaluation.sampling import Plan, sample_arm, settings_of
from mot_trl.generation.config import DecoderConfig
from mot_trl.generation.custom_generate import write_custom_generate
from mot_trl.modeling.loading import fingerprint, load_checkpoint
from mot_trl.tasks import gsm8k, nano

TASK = """
from mot_trl.tasks.gsm8k import load

def vowels(completions, answer, prompts, **_):
    assert len(completions) == len(answer) == len(prompts)
    return [1.0 if sum(c in "aeiou" for c in done[0]["content"]) % 2 else 0.0 for done in completions]

async def later(completions, **columns):
    return vowels(completions, **columns)
"""


@pytest.fixture(scope="module", autouse=True)
def task(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A task of the user's own, whose reward is quickly earned."""
    folder = tmp_path_factory.mktemp("task")
    (folder / "my").mkdir()
    (folder / "my" / "task.py").write_text(TASK)
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    make_model().save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


def config(model: Path, output: Path, **changes: object) -> EvaluationConfig:
    given = {
        "models": [str(model)],
        "strategies": ["one_token", "dirichlet:k=3"],
        "task": "my.task",
        "reward": "vowels",
        "data_path": str(gsm8k.FIXTURE),
        "samples": 2,
        "batch_size": 5,
        "max_new_tokens": 5,
        "cpu": True,
        "output_dir": str(output),
    }
    return EvaluationConfig(**{**given, **changes})


def files(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): file.read_text()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.suffix in (".json", ".jsonl", ".md")
    }


def test_two_runs_agree_to_the_byte_and_another_seed_does_not(base: Path, tmp_path: Path) -> None:
    for name, seed in (("one", 0), ("two", 0), ("other", 1)):
        torch.manual_seed(sum(map(ord, name)))
        evaluation.run(config(base, tmp_path / name, seed=seed))

    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert len(files(tmp_path / "one")) == 6
    told = [files(tmp_path / name)[f"{base.name}--one_token/samples.jsonl"] for name in ("one", "other")]
    assert told[0] != told[1]
    assert len(told[0].splitlines()) == 16


def test_a_run_that_lost_samples_and_half_a_line_ends_as_if_it_had_not(base: Path, tmp_path: Path) -> None:
    evaluation.run(config(base, tmp_path / "whole"))
    evaluation.run(config(base, tmp_path / "cut"))
    arm = next(each for each in (tmp_path / "cut").iterdir() if "dirichlet" in each.name)
    lines = (arm / "samples.jsonl").read_text().splitlines(keepends=True)
    (arm / "samples.jsonl").write_text("".join(lines[3:8]) + lines[0][:40])

    evaluation.run(config(base, tmp_path / "cut"))

    assert files(tmp_path / "cut") == files(tmp_path / "whole")


@pytest.mark.slow
def test_a_model_trained_in_sparse_mixtures_is_evaluated_under_plain_tokens_by_default(
    base: Path, tmp_path: Path
) -> None:
    trained = tmp_path / base.name
    shutil.copytree(base, trained)
    decoder = DecoderConfig("gated", {"wrapped": "dirichlet", "k": 3, "rate": 0.5})
    write_custom_generate(trained, decoder)

    evaluation.run(config(base, tmp_path / "plain", strategies=EvaluationConfig(models=["any"]).strategies))
    evaluation.run(config(trained, tmp_path / "trained", strategies=["one_token", "trained"]))

    samples = {
        f"{folder.name} {arm.name.split('--')[1]}": (arm / "samples.jsonl").read_text()
        for folder in (tmp_path / "plain", tmp_path / "trained")
        for arm in folder.glob("*--*")
    }
    assert samples["trained one_token"] == samples["plain one_token"]
    assert samples["trained trained"] != samples["plain one_token"]


def test_nothing_is_sampled_twice(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluation.run(config(base, tmp_path))

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("sampled again")

    monkeypatch.setattr("mot_trl.evaluation.sampling.generate", fail)

    evaluation.run(config(base, tmp_path))


@pytest.mark.parametrize(
    "change",
    [{"samples": 3}, {"batch_size": 4}, {"max_new_tokens": 6}, {"temperature": 0.5}, {"limit": 5}, {"seed": 2}],
)
def test_samples_of_other_settings_are_not_mixed(base: Path, tmp_path: Path, change: dict) -> None:
    evaluation.run(config(base, tmp_path, strategies=["one_token"]))

    with pytest.raises(ValueError, match="other settings"):
        evaluation.run(config(base, tmp_path, strategies=["one_token"], **change))


def test_other_weights_at_the_same_place_are_noticed(tmp_path: Path) -> None:
    make_tokenizer().save_pretrained(tmp_path / "model")
    make_model().save_pretrained(tmp_path / "model")
    evaluation.run(config(tmp_path / "model", tmp_path / "out", strategies=["one_token"]))
    make_model(seed=1).save_pretrained(tmp_path / "model")

    with pytest.raises(ValueError, match="weights was"):
        evaluation.run(config(tmp_path / "model", tmp_path / "out", strategies=["one_token"]))


def test_an_awaitable_reward_gives_the_same(base: Path, tmp_path: Path) -> None:
    plain = evaluation.run(config(base, tmp_path / "plain"))
    awaited = evaluation.run(config(base, tmp_path / "awaited", reward="later"))

    assert awaited == plain
    assert 0 < plain["arms"][0]["accuracy"].mean < 1


def test_the_callers_random_numbers_stay_as_they_were(base: Path, tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    loaded, rows = load_checkpoint(str(base)), gsm8k.load("test", gsm8k.FIXTURE)
    plan, decoder = Plan(generation_kwargs={"max_new_tokens": 3}), DecoderConfig()
    records = Records(tmp_path, settings_of(loaded, list(rows), decoder, plan))

    torch.manual_seed(5)
    sample_arm(loaded, list(rows), gsm8k.correct_answer, decoder, plan=plan, records=records, progress=False)

    assert torch.equal(torch.rand(3), expected)


def test_lengths_and_ends_are_counted_in_tokens(base: Path, tmp_path: Path) -> None:
    loaded, rows = load_checkpoint(str(base)), [{"prompt": text, "answer": "1"} for text in ("a", "bb")]
    plan = Plan(samples=4, batch_size=8, generation_kwargs={"max_new_tokens": 40, "temperature": 3.0})
    decoder = DecoderConfig(max_mixture_tokens=5)
    records = Records(tmp_path, settings_of(loaded, rows, decoder, plan))

    samples = sample_arm(loaded, rows, gsm8k.correct_answer, decoder, plan=plan, records=records, progress=False)

    ended, cut = [s for s in samples if s.ended], [s for s in samples if not s.ended]
    assert ended
    assert cut
    assert all(sample.tokens == 40 for sample in cut)
    for sample in ended:
        text_tokens = len(loaded.tokenizer.encode(sample.text))
        assert text_tokens < sample.tokens <= 40 or "\ufffd" in sample.text
    assert all(sample.thinking_tokens <= 5 for sample in samples)
    assert all(sample.closed == ("</think>" in sample.text) for sample in samples)


def lora(base: Path, folder: Path, *, seed: int = 3) -> nn.Module:
    adapted = get_peft_model(load_checkpoint(str(base)).model, LoraConfig(r=4, target_modules=["q_proj", "v_proj"]))
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
    adapted.save_pretrained(folder)
    return adapted


def test_a_merged_adapter_an_unmerged_one_a_sharded_model_and_bfloat16_all_evaluate(
    base: Path, tmp_path: Path
) -> None:
    lora(base, tmp_path / "adapter").merge_and_unload().save_pretrained(tmp_path / "merged")
    make_model().save_pretrained(tmp_path / "sharded", max_shard_size="20KB")
    make_model().to(torch.bfloat16).save_pretrained(tmp_path / "half")
    for name in ("merged", "sharded", "half"):
        make_tokenizer().save_pretrained(tmp_path / name)
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 1
    names = ["adapter", "merged", "sharded", "half"]

    models = [str(base), *(str(tmp_path / name) for name in names)]
    evaluation.run(config(base, tmp_path / "out", models=models, strategies=["dirichlet"], limit=4))

    def told(name: str) -> list[dict]:
        file = tmp_path / "out" / f"{name}--dirichlet" / "samples.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()]

    assert told("sharded") == told(base.name)
    assert told("adapter") == told("merged")
    assert told("adapter") != told(base.name)
    assert len(told("half")) == 8
    assert load_checkpoint(str(tmp_path / "half")).model.dtype == torch.bfloat16


def test_the_cross_table_of_training_and_inference_is_one_command(tmp_path: Path) -> None:
    for name, seed in (("dirichlet", 0), ("multiplex", 1)):
        make_model(seed=seed).save_pretrained(tmp_path / f"on_{name}")
        make_tokenizer().save_pretrained(tmp_path / f"on_{name}")
        write_custom_generate(
            tmp_path / f"on_{name}", DecoderConfig(strategy=name, stop_text="!", max_mixture_tokens=3)
        )
    models = [str(tmp_path / "on_dirichlet"), str(tmp_path / "on_multiplex")]

    found = evaluation.run(
        config(tmp_path, tmp_path / "out", models=models, strategies=["one_token", "trained"], limit=3)
    )

    assert [(arm["trained"], arm["strategy"]) for arm in found["arms"]] == [
        ("dirichlet", "one_token"),
        ("dirichlet", "trained"),
        ("multiplex", "one_token"),
        ("multiplex", "trained"),
    ]
    assert all(arm["thinking_tokens"].mean <= 3 for arm in found["arms"]), "the checkpoint's own phases hold"
    assert "| on_multiplex | multiplex | " in (tmp_path / "out" / "report.md").read_text()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"models": ["/no/such/model"]}, FileNotFoundError, "neither a local folder nor a model"),
        ({"models": ["{tmp}"]}, FileNotFoundError, "neither config.json nor adapter_config.json"),
        ({"strategies": ["telepathy"]}, ValueError, "Unknown strategy 'telepathy'"),
        ({"strategies": ["trained"]}, ValueError, "carries no decoder"),
        ({"task": "chess"}, ValueError, "Unknown task 'chess'"),
        ({"reward": "beauty"}, ValueError, "no reward 'beauty'; its functions are .*vowels"),
        ({"data_path": "/no/such/data"}, FileNotFoundError, "does not exist"),
        ({"base": "{base}"}, ValueError, "is no adapter"),
        ({"models": ["{bare}"]}, ValueError, "holds no tokenizer"),
        ({"samples": 0}, ValueError, "at least 1"),
        ({"models": []}, ValueError, "at least one"),
    ],
)
def test_what_cannot_be_evaluated_is_told(
    base: Path, tmp_path: Path, change: dict, error: type[Exception], message: str
) -> None:
    make_model().save_pretrained(tmp_path / "bare")

    def filled(value: object) -> object:
        if isinstance(value, list):
            return [filled(each) for each in value]
        return (
            value.format(tmp=tmp_path / "bare" / "..", base=base, bare=tmp_path / "bare")
            if isinstance(value, str)
            else value
        )

    with pytest.raises(error, match=message):
        evaluation.run(config(base, tmp_path / "out", **{name: filled(value) for name, value in change.items()}))


# peft warns, and our error must follow.
@pytest.mark.filterwarnings("ignore:Found missing adapter keys:UserWarning")
@pytest.mark.parametrize("other", [{"hidden_size": 64}, {"num_hidden_layers": 1}, {"num_hidden_layers": 3}])
def test_an_adapter_for_another_base_is_refused(base: Path, tmp_path: Path, other: dict) -> None:
    lora(base, tmp_path / "adapter")
    make_model(**other).save_pretrained(tmp_path / "other")

    with pytest.raises(ValueError, match="was not made for"):
        load_checkpoint(str(tmp_path / "adapter"), base=str(tmp_path / "other"))


@pytest.mark.filterwarnings("ignore:Could not find a config file:UserWarning")
def test_an_adapter_whose_base_is_gone_says_where_it_looked(base: Path, tmp_path: Path) -> None:
    make_model().save_pretrained(tmp_path / "moved")
    make_tokenizer().save_pretrained(tmp_path / "moved")
    lora(tmp_path / "moved", tmp_path / "adapter")
    file = tmp_path / "adapter" / "adapter_config.json"
    file.write_text(file.read_text().replace(str(tmp_path / "moved"), "/gone/base"))

    with pytest.raises(FileNotFoundError, match="/gone/base"):
        load_checkpoint(str(tmp_path / "adapter"))
    assert load_checkpoint(str(tmp_path / "adapter"), base=str(base)).model.active_adapter == "default"


def test_a_decoder_of_another_version_is_told_by_name(base: Path, tmp_path: Path) -> None:
    make_model().save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    write_custom_generate(tmp_path, DecoderConfig(strategy="dirichlet"))
    file = tmp_path / "generation_config.json"
    file.write_text(file.read_text().replace('"dirichlet"', '"telepathy"'))

    with pytest.raises(ValueError, match=r"carries a decoder that this version .*Unknown strategy 'telepathy'"):
        evaluation.run(config(tmp_path, tmp_path / "out"))


def test_a_training_step_changes_the_fingerprint(base: Path) -> None:
    model = load_checkpoint(str(base)).model
    before = fingerprint(model)
    assert fingerprint(load_checkpoint(str(base)).model) == before

    torch.optim.AdamW(model.parameters(), lr=1e-5).zero_grad()
    model(torch.tensor([[5, 6, 7]]), labels=torch.tensor([[5, 6, 7]])).loss.backward()
    torch.optim.SGD(model.parameters(), lr=1e-2).step()

    assert fingerprint(model) != before


def test_records_survive_being_cut_anywhere(tmp_path: Path) -> None:
    samples = [Sample(item, 0, 1.0, "é", 3, 2, True, True, f"text {item}\u2028") for item in range(3)]
    Records(tmp_path, {"a": 1}).append(samples[:2])
    file = tmp_path / "samples.jsonl"
    whole = file.read_bytes()

    for length in range(len(whole) + 1):
        file.write_bytes(whole[:length])
        records = Records(tmp_path, {"a": 1})
        kept = records.read()
        assert kept == samples[: len(kept)]
        records.append(samples[2:])
        assert records.read() == [*kept, samples[2]]

    records.finish()
    assert Records(tmp_path, {"a": 1}).read() == samples


def command(base: Path, task: Path, output: Path, *launcher: str) -> list[str]:
    return [
        *(launcher or (sys.executable,)),
        "recipes/evaluate.py",
        *("--models", str(base), "--strategies", "one_token", "top_k", "multiplex", "--samples", "3"),
        *("--task", "my.task", "--reward", "vowels", "--data_path", str(gsm8k.FIXTURE), "--cpu", "True"),
        *("--max_new_tokens", "24", "--batch_size", "4", "--output_dir", str(output)),
    ]


def environment(task: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f".{os.pathsep}{task}", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


@pytest.mark.slow
def test_a_run_killed_in_the_middle_and_one_of_two_processes_end_as_an_uninterrupted_one(
    base: Path, task: Path, tmp_path: Path
) -> None:
    changes = {"strategies": ["one_token", "top_k", "multiplex"], "samples": 3, "batch_size": 4, "max_new_tokens": 24}
    evaluation.run(config(base, tmp_path / "whole", **changes))

    victim = subprocess.Popen(command(base, task, tmp_path / "cut"), env=environment(task))
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and victim.poll() is None:
        if sum(file.read_text().count("\n") for file in (tmp_path / "cut").glob("*top_k/*.jsonl")) >= 4:
            break
        time.sleep(0.02)
    victim.send_signal(signal.SIGKILL)
    killed = victim.wait() == -signal.SIGKILL
    launcher = (sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2")
    launcher = (*launcher, "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no")
    subprocess.run(command(base, task, tmp_path / "cut", *launcher), env=environment(task), check=True)

    assert killed
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"engine": "vllm"}, ImportError, "vLLM is not installed"),
        ({"vllm_engine_kwargs": {"seed": 1}}, ValueError, 'is for `engine="vllm"`'),
        ({"vllm_engine_kwargs": "seed=1"}, TypeError, "must be a dict, or JSON on the command line: 'seed=1'"),
        ({"vllm_engine_kwargs": "[1]"}, TypeError, "must be a dict"),
    ],
)
def test_an_engine_that_is_not_there_is_refused_before_a_model_is_loaded(
    tmp_path: Path, changes: dict[str, object], error: type[Exception], message: str
) -> None:
    if changes.get("engine") and find_spec("vllm"):
        pytest.skip("vLLM is installed here")

    with pytest.raises(error, match=message):
        config(tmp_path, tmp_path, **changes)


@pytest.mark.slow
def test_tasks_without_a_data_path_are_loaded_by_split_alone() -> None:
    config = EvaluationConfig(models=["any"], task="nano", split="test", limit=6)

    rows, reward = load_task(config)

    assert [row["task"] for row in rows] == list(nano.TASKS)
    assert reward is nano.correct_answer
