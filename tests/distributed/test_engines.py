"""Two processes train as one with the same global batch, on every engine that runs without a GPU."""

import json
import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from filelock import FileLock
from launching import LAUNCH_FILES, train_alone, train_together
from safetensors.torch import load_file
from scenarios import SCENARIOS, save_models
from transformers import AutoModelForCausalLM

from mot_trl.traces import load_traces
from mot_trl.traces.storage import trace_files

Trained = Callable[[str], Path]

# Of time, or extremes over what one process reads at a time.
NOT_COMPARED = ("time", "per_second", "low_min", "high_max")

EXACT = {name: scenario for name, scenario in SCENARIOS.items() if scenario.mixed_precision == "no"}
RUNS = [(engine, name) for name, scenario in EXACT.items() for engine in scenario.engines]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The folder of what two processes on an engine trained, or one (`alone`): trained once for all of pytest."""
    base = tmp_path_factory.getbasetemp()
    base = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "engines"

    def folder_of(engine: str) -> Path:
        folder, models = base / engine, base / "models"
        base.mkdir(exist_ok=True)
        with FileLock(base / "models.lock"):
            if not models.exists():
                save_models(models)
        with FileLock(base / f"{engine}.lock"):
            if not folder.exists():
                folder.mkdir()
                if engine == "alone":
                    train_alone(folder, models)
                else:
                    train_together(engine, folder, models)
        return folder

    return folder_of


def told(folder: Path, name: str, rank: int = 0) -> dict[str, Any]:
    path = folder / name / f"rank_{rank}.json"
    assert path.exists(), (folder / "output.txt").read_text()[-8000:]
    return json.loads(path.read_text())


def compared(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if not any(word in key for word in NOT_COMPARED)}


def weights(folder: Path, name: str) -> dict[str, torch.Tensor]:
    saved = folder / name / ("adapter_model.safetensors" if SCENARIOS[name].lora else "model.safetensors")
    return load_file(saved)


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> str:
    if request.param.startswith("zero") and find_spec("deepspeed") is None:
        pytest.skip("needs deepspeed, which builds its kernels where it runs: pip install '.[deepspeed]'")
    return request.param


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "name"), RUNS, indirect=["engine"])
def test_two_processes_train_as_one(engine: str, name: str, trained: Trained) -> None:
    scenario = SCENARIOS[name]
    one, two = told(trained("alone"), name), told(trained(engine), name)

    assert len(one["steps"]) == len(two["steps"]) == 3
    for step, (alone, together) in enumerate(zip(one["steps"], two["steps"], strict=True)):
        assert compared(together) == pytest.approx(compared(alone), abs=2e-5, rel=2e-4), step
    assert compared(two["evaluated"]) == pytest.approx(compared(one["evaluated"]), abs=2e-5, rel=2e-4)
    if "optim" not in scenario.settings:
        saved, expected = weights(trained(engine), name), weights(trained("alone"), name)
        for key, value in expected.items():
            torch.testing.assert_close(saved[key], value, atol=2e-6, rtol=1e-5, msg=key)


@pytest.mark.slow
def test_mixed_precision_of_sharded_weights_rounds_no_record(trained: Trained) -> None:
    two = told(trained("fsdp2"), "bfloat16")

    assert two["dtype"] == "torch.float32"
    assert all(entry["mixture/log_prob_gap"] < 0.03 for entry in two["steps"])


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["cpu", "fsdp2", "zero2", "zero3"], indirect=True)
def test_a_resumed_run_goes_on_where_it_was(engine: str, trained: Trained) -> None:
    whole = told(trained("alone"), "resumed")
    resumed = told(trained(engine), "resumed")["resumed"]

    assert compared(resumed["steps"][2]) == pytest.approx(compared(whole["steps"][2]), abs=2e-5, rel=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["cpu", "fsdp2", "zero2", "zero3"], indirect=True)
def test_what_is_saved_is_a_whole_model(engine: str, trained: Trained) -> None:
    folder = trained(engine) / "mixtures"

    model, report = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)

    assert not any(report.values())
    assert model.dtype == torch.float32


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["cpu", "fsdp2"], indirect=True)
def test_every_process_traces_its_rows(engine: str, trained: Trained) -> None:
    one, two = trained("alone") / "mixtures", trained(engine) / "mixtures"

    traces = [
        load_traces(folder).select(["step", "group", "sample", "completion_ids", "reward"]) for folder in (one, two)
    ]
    alone, together = (table.sort_by([("step", "ascending"), ("sample", "ascending")]).to_pylist() for table in traces)

    assert [path.stem for path in trace_files(two)][:2] == ["train_000001", "train_000001_process1"]
    assert len(alone) == 3 * 8
    assert together == alone


@pytest.mark.slow
@pytest.mark.skipif(find_spec("deepspeed") is not None, reason="deepspeed keeps the process group for itself")
def test_processes_end_without_threads_that_wait_for_the_interpreter(trained: Trained) -> None:
    counts = [json.loads((trained("cpu") / f"threads_{rank}.json").read_text()) for rank in (0, 1)]

    assert counts == [0, 0]


@pytest.mark.parametrize("path", sorted(LAUNCH_FILES.glob("*.yaml")), ids=lambda path: path.stem)
def test_accelerate_reads_every_launch_file(path: Path) -> None:
    config = load_config_from_file(str(path))

    assert config.num_processes >= config.num_machines >= 1
    assert (
        config.distributed_type.value
        == {
            "cpu": "MULTI_GPU",
            "ddp": "MULTI_GPU",
            "fsdp2": "FSDP",
            "single_gpu": "NO",
            "two_nodes": "FSDP",
            "zero2": "DEEPSPEED",
            "zero3": "DEEPSPEED",
        }[path.stem]
    )
