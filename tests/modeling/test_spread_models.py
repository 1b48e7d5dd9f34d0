"""Models that accelerate has spread over devices, or offloaded, generate and train like any other."""

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import disk_offload, dispatch_model
from conftest import make_model, make_tokenizer
from datasets import Dataset

from mot_trl import MoTGRPOConfig, MoTGRPOTrainer, generate
from mot_trl.modeling.distributed import input_device
from mot_trl.trainer import grpo_trainer

PARTS = ("model.embed_tokens", "model.rotary_emb", "model.layers.0", "model.layers.1", "model.norm", "lm_head")


def spread(folder: Path, *, offloaded: int = 0) -> Any:
    """A model with accelerate's hooks on every part, the last of them offloaded to disk."""
    kept = len(PARTS) - offloaded
    places = {name: "cpu" if at < kept else "disk" for at, name in enumerate(PARTS)}
    return dispatch_model(make_model(), places, main_device="cpu", offload_dir=str(folder), force_hooks=True)


def completed(model: Any) -> torch.Tensor:
    torch.manual_seed(0)
    prompts = ["Hi", "Hi", "Count to two."]
    return generate(model, make_tokenizer(), prompts, strategy="dirichlet", max_new_tokens=8).completion_ids


# Older releases of transformers compare with the device of the weights, which is `meta` for those on disk.
@pytest.mark.filterwarnings("ignore:You are calling .generate:UserWarning")
@pytest.mark.parametrize("kind", ["spread", "partly on disk", "on disk"])
def test_generation_is_the_same(kind: str, tmp_path: Path) -> None:
    if kind == "on disk":
        model = make_model()
        disk_offload(model, str(tmp_path), execution_device=torch.device("cpu"))
        assert model.device == torch.device("meta")
    else:
        model = spread(tmp_path, offloaded=0 if kind == "spread" else 3)

    assert torch.equal(completed(model), completed(make_model()))
    assert input_device(model) == torch.device("cpu")


def trained(model: Any, folder: Path, prompts: Dataset) -> MoTGRPOTrainer:
    settings: dict[str, Any] = {
        "per_device_train_batch_size": 4,
        "num_generations": 4,
        "max_completion_length": 6,
        "max_steps": 1,
        "learning_rate": 1e-2,
        "logging_steps": 1,
        "strategy": "dirichlet",
        "use_cpu": True,
        "bf16": False,
        "report_to": [],
        "save_strategy": "no",
    }
    trainer = MoTGRPOTrainer(
        model,
        lambda completions, **_: [float(sum(map(ord, completion[0]["content"])) % 7) for completion in completions],
        MoTGRPOConfig(str(folder), **settings),
        train_dataset=prompts,
        processing_class=make_tokenizer(),
    )
    trainer.train()
    return trainer


def test_training_is_the_same(tmp_path: Path, prompts: Dataset) -> None:
    ours = trained(spread(tmp_path), tmp_path / "spread", prompts).model.state_dict()
    expected = trained(make_model(), tmp_path / "whole", prompts).model.state_dict()

    start = make_model().state_dict()
    assert any(not torch.equal(weight, start[name]) for name, weight in ours.items())
    for name, weight in expected.items():
        assert torch.allclose(ours[name], weight, atol=1e-6), name


def test_offloaded_weights_are_not_trained(tmp_path: Path, prompts: Dataset) -> None:
    with pytest.raises(ValueError, match="offloaded to main memory or disk"):
        trained(spread(tmp_path, offloaded=2), tmp_path / "out", prompts)


@pytest.mark.parametrize(
    ("model", "trainer", "checked"),
    [("cuda:0", "cuda", True), ("cuda:1", "cuda:0", True), ("cpu", "cuda:0", False), ("cuda", "cpu", False)],
)
def test_a_model_is_checked_on_any_gpu_of_the_trainers_kind(
    model: str, trainer: str, checked: bool, tmp_path: Path, prompts: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(grpo_trainer, "check_model", lambda *args, **_: calls.append(args))
    monkeypatch.setattr(grpo_trainer, "input_device", lambda _: torch.device(model))
    set_up = MoTGRPOTrainer._set_up_mixtures

    def on_gpu(self: MoTGRPOTrainer, *args: Any) -> None:
        monkeypatch.setattr(type(self.accelerator), "device", torch.device(trainer))
        set_up(self, *args)

    monkeypatch.setattr(MoTGRPOTrainer, "_set_up_mixtures", on_gpu)

    MoTGRPOTrainer(
        make_model(),
        lambda completions, **_: [0.0 for _ in completions],
        MoTGRPOConfig(str(tmp_path), use_cpu=True, bf16=False, report_to=[], num_generations=2),
        train_dataset=prompts,
        processing_class=make_tokenizer(),
    )

    assert bool(calls) == checked
