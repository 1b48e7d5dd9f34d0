"""Traces hold what was drawn, can be replayed, and survive interrupted and resumed runs."""

import json
import math
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import make_model, make_tokenizer
from datasets import Dataset, load_dataset
from traces_rows import make_row
from trl.trainer.utils import add_fused_lm_head

from mot_trl import MoTGRPOConfig, MoTGRPOTrainer, build_strategy
from mot_trl.modeling.candidate_head import add_candidate_head
from mot_trl.strategies import mixture
from mot_trl.strategies.surrogate import surrogate
from mot_trl.traces import load_traces, schema, to_replay, write_page
from mot_trl.traces.callback import traced_rows
from mot_trl.traces.phase_changes import phase_changes
from mot_trl.traces.row import reward_columns
from mot_trl.traces.schema import METADATA_KEY, SCHEMA
from mot_trl.traces.storage import read_metadata, trace_files, write_trace
from mot_trl.traces.token_text import visible_texts

TEMPERATURE = 0.9


def letters(completions: list[list[dict[str, str]]], **_: object) -> list[float]:
    return [float(sum(map(ord, completion[0]["content"])) % 7) for completion in completions]


def every_other(completions: list[list[dict[str, str]]], **_: object) -> list[float | None]:
    return [None if index % 2 else 1.0 for index, _ in enumerate(completions)]


def make_run(folder: Path, prompts: Dataset, **overrides: Any) -> MoTGRPOTrainer:
    settings: dict[str, Any] = {
        "per_device_train_batch_size": 4,
        "per_device_eval_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "num_generations": 4,
        "max_completion_length": 12,
        "max_mixture_tokens": 3,
        "max_steps": 3,
        "learning_rate": 1e-3,
        "report_to": [],
        "logging_steps": 1,
        "use_cpu": True,
        "bf16": False,
        "save_strategy": "no",
        "temperature": TEMPERATURE,
        "disable_tqdm": True,
        "trace_steps": 1,
        "strategy": "dirichlet",
        "mixture_k": 4,
        "reward_weights": [1.0, 0.5],
        **overrides,
    }
    return MoTGRPOTrainer(
        make_model(),
        [letters, every_other],
        MoTGRPOConfig(str(folder), **settings),
        train_dataset=prompts,
        eval_dataset=prompts.select(range(3)),
        processing_class=make_tokenizer(),
    )


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three steps with evaluations, traced at each."""
    folder = tmp_path_factory.mktemp("run")
    texts = [f"Count to {number}." for number in range(2, 10)]
    rows = Dataset.from_dict({"prompt": [[{"role": "user", "content": text}] for text in texts]})
    make_run(folder, rows, eval_strategy="steps", eval_steps=2).train()
    return folder


def test_each_step_and_evaluation_leaves_a_file(run_dir: Path) -> None:
    names = [path.stem for path in trace_files(run_dir)]

    assert names == ["train_000001", "train_000002", "eval_000002", "train_000003", "eval_000003"]


def test_a_trace_holds_what_the_log_says(run_dir: Path) -> None:
    frame = load_traces(run_dir).to_pandas()
    train = frame[frame["split"] == "train"]
    evaluated = frame[frame["split"] == "eval"]

    assert len(train) == 3 * 8
    assert len(evaluated) == 2 * 12
    assert train["group"].tolist() == [0, 0, 0, 0, 1, 1, 1, 1] * 3
    assert (train.groupby(["step", "group"])["prompt"].nunique() == 1).all()
    assert train.groupby(["step", "group"])["advantage"].sum().abs().max() < 1e-4
    for row in frame.to_dict("records"):
        rewards = {reward["name"]: reward["value"] for reward in row["rewards"]}
        shown = make_tokenizer().decode(row["completion_ids"], skip_special_tokens=True)
        assert rewards["letters"] == letters([[{"content": shown}]])[0]
        assert row["reward"] == rewards["letters"] + (0.0 if rewards["every_other"] is None else 0.5)
    assert {rewards[1]["value"] for rewards in frame["rewards"].map(list)} == {1.0, None}


def test_every_list_has_an_entry_per_token(run_dir: Path) -> None:
    for row in load_traces(run_dir).to_pylist():
        length = len(row["completion_ids"])
        for name in ("tokens", "candidate_ids", "log_weights", "thinking", "mixed", "forced", "logps", "entropies"):
            assert len(row[name]) == length, name
        assert None not in row["entropies"]
        drawn = zip(row["thinking"], row["candidate_ids"], row["log_weights"], row["completion_ids"], strict=True)
        for thinking, ids, log_weights, visible_id in drawn:
            assert bool(ids) == thinking
            assert len(ids) <= 4
            if thinking:
                assert visible_id in ids
                assert torch.tensor(log_weights).exp().sum() == pytest.approx(1, abs=1e-5)
        if row["closed_by"] == "budget":
            assert [phase["phase"] for phase in row["phases"]][:2] == ["thinking", "forced"]
            assert row["phases"][1] == {"position": 3, "phase": "forced", "cause": "budget"}


def test_a_trace_replays_to_its_log_probs_and_entropies(tmp_path: Path, prompts: Dataset) -> None:
    trainer = make_run(tmp_path, prompts, learning_rate=0.0, max_steps=1)
    trainer.train()
    traces = load_traces(tmp_path)
    strategy = build_strategy("dirichlet", k=4)

    batch = to_replay(traces, pad_token_id=0)
    model = make_model()
    add_fused_lm_head(model, temperature=TEMPERATURE, outputs=("log_probs", "entropy"))
    add_candidate_head(model, strategy, temperature=TEMPERATURE)
    input_ids = torch.cat([batch.prompt_ids, batch.completion_ids], dim=1)
    mask = torch.cat([batch.prompt_mask, batch.completion_mask], dim=1)
    with torch.no_grad():
        outputs = model(
            input_ids=input_ids,
            attention_mask=mask,
            labels=input_ids,
            fused_lm_head=True,
            rollout=batch.rollout,
        )
    length = batch.completion_ids.size(1)
    logps = outputs.log_probs[:, -length:]
    mixtures = batch.rollout.mixtures(batch.completion_ids)
    logps[batch.rollout.thinking_mask] = surrogate(strategy, outputs.candidate_logps, mixtures)

    own = batch.completion_mask.bool() & ~batch.rollout.forced_mask
    assert batch.rollout.mixture_mask.sum() > 20
    assert (logps - batch.rollout.logps)[own].abs().max() < 1e-4
    for row, entropies in enumerate(traces["entropies"].to_pylist()):
        assert outputs.entropy[row, -length:][: len(entropies)].tolist() == pytest.approx(entropies, abs=1e-4)


def test_pandas_and_datasets_read_it(run_dir: Path, tmp_path: Path) -> None:
    files = [str(path) for path in trace_files(run_dir)]

    frame = pq.read_table(files[0]).to_pandas()
    rows = load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path))

    assert list(frame.columns) == SCHEMA.names == rows.column_names
    assert len(rows) == 48
    assert rows[0]["candidate_ids"] == [list(ids) for ids in frame["candidate_ids"][0]]
    assert read_metadata(Path(files[0]))["strategy"].startswith("Dirichlet(")


def test_a_trace_comes_every_so_many_steps_even_where_steps_share_a_generation(
    tmp_path: Path, prompts: Dataset
) -> None:
    # One generation serves four steps, so none begins at a multiple of three.
    make_run(
        tmp_path,
        prompts,
        max_steps=10,
        trace_steps=3,
        trace_samples=3,
        gradient_accumulation_steps=1,
        steps_per_generation=2,
        num_iterations=2,
    ).train()

    assert [path.stem for path in trace_files(tmp_path)] == ["train_000001", "train_000005", "train_000009"]
    assert load_traces(tmp_path).num_rows == 9


def test_an_evaluation_larger_than_a_training_batch_keeps_its_rewards(tmp_path: Path, prompts: Dataset) -> None:
    trainer = make_run(tmp_path, prompts, per_device_eval_batch_size=12)
    trainer.evaluate()

    frame = load_traces(tmp_path).to_pandas()

    assert len(frame) == 12 > trainer.args.generation_batch_size
    assert frame["reward"].notna().all()
    for row in frame.to_dict("records"):
        rewards = {reward["name"]: reward["value"] for reward in row["rewards"]}
        shown = make_tokenizer().decode(row["completion_ids"], skip_special_tokens=True)
        assert rewards["letters"] == letters([[{"content": shown}]])[0]


@pytest.mark.parametrize("overrides", [{"trace_steps": 0}, {"normal_generation": True}])
def test_no_trace_where_none_is_asked_for(overrides: dict[str, Any], tmp_path: Path, prompts: Dataset) -> None:
    make_run(tmp_path, prompts, max_steps=1, **overrides).train()

    assert not (tmp_path / "traces").exists()


@pytest.mark.parametrize("overrides", [{"trace_steps": -1}, {"trace_samples": 0}])
def test_settings_out_of_range_are_refused(overrides: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="trace_steps"):
        MoTGRPOConfig(str(tmp_path), bf16=False, use_cpu=True, **overrides)


def test_an_interrupted_run_leaves_readable_files(tmp_path: Path, prompts: Dataset) -> None:
    def fails_in_time(completions: list[Any], trainer_state: Any, **_: object) -> list[float]:
        if trainer_state.global_step == 2:
            raise KeyboardInterrupt
        return [1.0] * len(completions)

    trainer = make_run(tmp_path, prompts)
    trainer.reward_funcs[1] = fails_in_time
    with pytest.raises(KeyboardInterrupt):
        trainer.train()

    assert load_traces(tmp_path)["step"].to_pylist() == [1] * 8 + [2] * 8


KILLED_WHILE_WRITING = """
import os, sys, threading, time
from pathlib import Path
import pyarrow as pa
from mot_trl.traces.storage import write_trace
from mot_trl.traces.schema import SCHEMA
row = {name: None for name in SCHEMA.names} | {"step": 1, "prompt": "x" * 1000}
for index in range(10**6):
    table = pa.Table.from_pylist([row] * 2000, schema=SCHEMA)
    write_trace(table, Path(sys.argv[1]) / f"train_{index:06d}.parquet", {})
    print(index, flush=True)
"""


def test_a_process_killed_while_writing_leaves_only_whole_files(tmp_path: Path) -> None:
    writer = subprocess.Popen([sys.executable, "-c", KILLED_WHILE_WRITING, str(tmp_path)], stdout=subprocess.PIPE)
    with writer:
        assert writer.stdout is not None
        for _ in range(5):
            writer.stdout.readline()
        # Kill it in the middle of a file, which has its temporary name until it is complete.
        while not list(tmp_path.glob(".*.part")):
            pass
        writer.kill()

    assert load_traces(tmp_path).num_rows == 2000 * len(trace_files(tmp_path))


def test_files_that_are_no_trace_or_too_new_are_refused(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([], schema=SCHEMA)
    with pytest.raises(FileNotFoundError, match="trace_steps"):
        load_traces(tmp_path)

    pq.write_table(table, tmp_path / "train_000001.parquet")
    with pytest.raises(ValueError, match="not a trace"):
        load_traces(tmp_path)

    described = table.replace_schema_metadata({METADATA_KEY: json.dumps({"version": 99}).encode()})
    pq.write_table(described, tmp_path / "train_000001.parquet")
    with pytest.raises(ValueError, match="version 99"):
        load_traces(tmp_path)


def test_a_file_of_before_there_were_turns_still_opens(tmp_path: Path) -> None:
    row = {**make_row(), "turns": [0, 0]}
    table = pa.Table.from_pylist([row], schema=SCHEMA)

    write_trace(table.drop_columns(["turns"]), tmp_path / "train_000001.parquet", {})
    write_trace(table.append_column("of_later", pa.array([1])), tmp_path / "train_000002.parquet", {})
    old, new = load_traces(tmp_path).to_pylist()

    assert (old.pop("turns"), new.pop("turns")) == (None, [0, 0])
    assert old == new
    assert to_replay(load_traces(tmp_path)).rollout.turn_numbers.tolist() == [[0, 0], [0, 0]]
    write_page(tmp_path)


def test_turns_and_results_of_tools_are_phases_of_their_own() -> None:
    # w: waiting, t: thinking, f: forced, a: answering, r: a result, and the turns below.
    thinking = [letter == "t" for letter in "ttaarrttffarrwta"]
    forced = [letter == "f" for letter in "ttaarrttffarrwta"]
    turns = [-1 if letter == "-" else int(letter) for letter in "0000--11111--222"]

    found = phase_changes(thinking, forced, turns, cause="stop_text")

    assert [(change["position"], change["phase"], change["cause"]) for change in found] == [
        (0, "thinking", "start"),
        (2, "answering", "stop_text"),
        (4, "result", "call"),
        (6, "thinking", "turn"),
        (8, "forced", "forced"),
        (10, "answering", "forced"),
        (11, "result", "call"),
        (13, "waiting", "turn"),
        (14, "thinking", "start_text"),
        (15, "answering", "stop_text"),
    ]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "train_000001.parquet"
    write_trace(pa.Table.from_pylist([], schema=SCHEMA), path, {})

    with pytest.raises(TypeError):
        write_trace(pa.Table.from_pylist([], schema=SCHEMA), path, {"strategy": object()})

    assert load_traces(tmp_path).num_rows == 0
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_token_texts_add_up_to_the_text_of_characters_cut_into_bytes() -> None:
    tokenizer = make_tokenizer()
    text = "naïve 😀 Ω\n"
    ids = tokenizer.encode(text)

    texts = visible_texts(tokenizer, [*ids, 300])

    assert "".join(texts) == text + "[300]"
    assert texts[6:10] != ["😀", "", "", ""]
    assert texts[7:11] == ["😀", "", "", ""]
    assert visible_texts(tokenizer, ids[7:9]) == ["\ufffd", "\ufffd"]


@pytest.mark.parametrize(
    ("thinking", "forced", "cause", "changes"),
    [
        ("1100", "0000", "stop_text", [(0, "thinking", "start"), (2, "answering", "stop_text")]),
        ("0110", "0001", "budget", [(0, "waiting", "start"), (1, "thinking", "start_text"), (3, "forced", "budget")]),
        (
            "1101101",
            "0000010",
            "stop_text",
            [
                (0, "thinking", "start"),
                (2, "answering", "stop_text"),
                (3, "thinking", "start_text"),
                (5, "forced", "forced"),
                (6, "thinking", "start_text"),
            ],
        ),
        (
            "1001000",
            "0100110",
            "budget",
            [
                (0, "thinking", "start"),
                (1, "forced", "forced"),
                (2, "answering", "forced"),
                (3, "thinking", "start_text"),
                (4, "forced", "budget"),
                (6, "answering", "budget"),
            ],
        ),
        ("111", "000", None, [(0, "thinking", "start")]),
        ("", "", None, []),
    ],
)
def test_phase_changes_have_a_cause(thinking: str, forced: str, cause: str | None, changes: list[Any]) -> None:
    flags = ([flag == "1" for flag in text] for text in (thinking, forced))

    found = phase_changes(*flags, cause=cause)

    assert [(change["position"], change["phase"], change["cause"]) for change in found] == changes


def test_pages_tables_and_plots_do_without_torch() -> None:
    modules = "page, storage, token_selection, token_selection_plots, learning_curves, __main__"
    code = f"import sys; from mot_trl.traces import {modules}; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert schema.LOG_ZERO_WEIGHT == mixture.LOG_ZERO_WEIGHT


def test_a_trace_takes_whole_groups_from_each_process_in_turn() -> None:
    assert traced_rows(3, rows=8, processes=1, group_size=2) == [0, 1, 2]
    assert traced_rows(6, rows=4, processes=2, group_size=2) == [0, 1, 4, 5, 2, 3]
    assert traced_rows(4, rows=2, processes=4, group_size=4) == [0, 1, 2, 3]
    assert sorted(traced_rows(99, rows=3, processes=2, group_size=2)) == [0, 1, 2, 3, 4, 5]


def test_a_reward_is_summed_over_the_functions_that_could_judge() -> None:
    judged = reward_columns({"first": 1.0, "second": math.nan}, [0.5, 1.0])

    assert judged["reward"] == 0.5
    assert [entry["value"] for entry in judged["rewards"]] == [1.0, None]
    assert reward_columns({"only": math.nan}, [1.0])["reward"] is None


def test_metrics_reach_tensorboard_and_mixtures_trls_table(
    tmp_path: Path, prompts: Dataset, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "board"))
    trainer = make_run(tmp_path, prompts, max_steps=2, report_to=["tensorboard"], log_completions=True)
    trainer.train()

    events = EventAccumulator(str(next((tmp_path / "board").rglob("events.*")).parent)).Reload()
    traced = load_traces(tmp_path).to_pandas()
    logged = pq.read_table(tmp_path / "completions" / "completions_00002.parquet").to_pandas()
    assert len(events.Scalars("train/mixture/effective_candidates")) == 2
    assert len(events.Scalars("train/reward")) == 2
    assert "mixtures" in capsys.readouterr().out
    assert logged["advantage"].tolist() == pytest.approx(traced[traced["step"] == 2]["advantage"].tolist())
    for cell, mixed in zip(logged["mixtures"], traced[traced["step"] == 2]["mixed"], strict=True):
        assert (cell == "none") == (not any(mixed))
        assert all(mixed[int(line.split()[0][1:])] for line in cell.splitlines()[1:])


def test_metrics_and_the_table_reach_trackio_on_disk(
    tmp_path: Path, prompts: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("trackio", reason="needs trackio, which CI installs beside the rest: .ci/run")
    script = TRACKIO_RUN.format(
        tests=[str(Path(__file__).parent), str(Path(__file__).parents[1])], folder=str(tmp_path)
    )
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stderr[-3000:]
    (database,) = (tmp_path / "trackio").rglob("*.db")
    with sqlite3.connect(database) as connection:
        stored = " ".join(str(row) for row in connection.execute("select metrics from metrics"))
    assert "train/mixture/effective_candidates" in stored
    assert "completions" in stored


# A process of its own, since trackio keeps threads.
TRACKIO_RUN = """
import sys
sys.path[:0] = {tests!r}
from pathlib import Path
from datasets import Dataset
from test_traces import make_run
chats = [[dict(role="user", content="Count to %d." % number)] for number in range(2, 10)]
make_run(
    Path({folder!r}), Dataset.from_dict(dict(prompt=chats)), max_steps=2, report_to=["trackio"], log_completions=True,
    trackio_space_id=None, trackio_static_space_id=False, project="mot",
).train()
"""


def test_a_trace_that_cannot_be_written_does_not_end_the_run(
    tmp_path: Path, prompts: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    # A file where the folder should be.
    (tmp_path / "traces").write_text("")
    trainer = make_run(tmp_path, prompts, max_steps=2)

    trainer.train()

    assert trainer.state.global_step == 2
    assert "The trace train_000001 could not be written" in caplog.text


def test_a_resumed_run_traces_the_steps_that_it_would_have(tmp_path: Path, prompts: Dataset) -> None:
    whole = make_run(tmp_path / "whole", prompts, max_steps=5, trace_steps=3, save_strategy="steps", save_steps=2)
    whole.train()
    resumed = make_run(tmp_path / "resumed", prompts, max_steps=5, trace_steps=3)

    resumed.train(str(tmp_path / "whole" / "checkpoint-2"))

    assert [path.name for path in trace_files(tmp_path / "whole")] == ["train_000001.parquet", "train_000004.parquet"]
    assert [path.name for path in trace_files(tmp_path / "resumed")] == ["train_000004.parquet"]


def test_a_run_does_not_mix_its_traces_with_those_of_another(
    tmp_path: Path, prompts: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    make_run(tmp_path, prompts, max_steps=3).train()
    old = {path.name: path.read_bytes() for path in trace_files(tmp_path)}
    (tmp_path / "traces" / "notes_a.parquet").touch()

    make_run(tmp_path, prompts, max_steps=3, trace_steps=2).train()

    aside = tmp_path / "traces" / "earlier_1"
    assert [path.name for path in trace_files(tmp_path)] == ["train_000001.parquet", "train_000003.parquet"]
    assert {path.name: path.read_bytes() for path in aside.iterdir()} == old
    assert f"another run left of steps after 0 are now in {aside}" in caplog.text
    assert (tmp_path / "traces" / "notes_a.parquet").exists()


def test_traces_of_another_run_that_cannot_be_moved_do_not_end_the_run(
    tmp_path: Path, prompts: Dataset, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    make_run(tmp_path, prompts, max_steps=1).train()

    def refused(*_: object) -> None:
        raise PermissionError("not yours")

    monkeypatch.setattr(Path, "replace", refused)
    make_run(tmp_path, prompts, max_steps=1).train()

    assert f"Traces of another run stay in {tmp_path / 'traces'}, they could not be moved: not yours" in caplog.text
