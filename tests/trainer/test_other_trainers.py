"""TRL's other trainers: one takes mixtures as it is, and what keeps the asynchronous one from it."""

import ast
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import make_model, make_tokenizer
from datasets import Dataset
from test_grpo_trainer import letters, logged, settings

from mot_trl import MoTGRPOConfig, MoTGRPOTrainer

ASYNC = Path(importlib.util.find_spec("trl").origin).parent / "experimental" / "async_grpo"  # ty: ignore


@pytest.fixture
def gmpo(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    return pytest.importorskip("trl.experimental.gmpo")


@pytest.mark.slow
def test_gmpo_takes_mixtures_by_inheritance_and_one_token_is_plain_gmpo(
    gmpo: Any, tmp_path: Path, prompts: Dataset
) -> None:
    class Trainer(MoTGRPOTrainer, gmpo.GMPOTrainer): ...

    # In the other order the fields that this library's inherits from GRPO, such as `epsilon`, would hide GMPO's.
    @dataclass
    class Config(gmpo.GMPOConfig, MoTGRPOConfig): ...

    # No row ends early and leaves the batch, so that the random streams stay in step.
    same = settings(tmp_path, num_iterations=2, generation_kwargs={"suppress_tokens": [2]})
    arms = {
        "plain": (gmpo.GMPOTrainer, gmpo.GMPOConfig(**same)),
        "one_token": (Trainer, Config(**same, strategy="one_token")),
        "mixtures": (Trainer, Config(**same, strategy="dirichlet")),
    }
    logs = {}
    for arm, (kind, config) in arms.items():
        trainer = kind(make_model(), letters, config, train_dataset=prompts, processing_class=make_tokenizer())
        trainer.train()
        logs[arm] = {name: logged(trainer, name) for name in ("loss", "grad_norm", "mixture/share")}

    assert Config(**same).epsilon == gmpo.GMPOConfig(**same).epsilon
    for name in ("loss", "grad_norm"):
        assert logs["one_token"][name] == pytest.approx(logs["plain"][name], abs=1e-6, rel=1e-4), name
    assert min(logs["mixtures"]["mixture/share"]) > 0.5
    assert min(logs["mixtures"]["grad_norm"]) > 0


def parsed(file: str) -> dict[str, Any]:
    """Classes and functions of a file of the asynchronous trainer, by name, read without an import of it."""
    tree = ast.parse((ASYNC / file).read_text())
    return {node.name: node for node in ast.walk(tree) if isinstance(node, ast.ClassDef | ast.FunctionDef)}


def test_what_the_asynchronous_trainer_lacks_is_still_missing() -> None:
    opened = "a seam that docs/trl.md calls missing has opened: "
    sample = parsed("async_rollout_worker.py")["RolloutSample"]
    trainer, row = parsed("async_grpo_trainer.py"), parsed("packing.py")["TreeRow"]
    fields = {node.target.id for node in sample.body if isinstance(node, ast.AnnAssign)}  # ty: ignore
    source = (ASYNC / "async_grpo_trainer.py").read_text()

    columns = {"input_ids", "completion_mask", "old_log_probs"}
    others = {"prompt", "completion", "advantage", "model_version", "group_id", "metrics", "enqueued_at"}
    assert fields == columns | others, f"{opened}a sample holds {fields - columns - others}"
    assert "zip(input_ids, [*input_ids[1:], None]" in ast.unparse(row), f"{opened}rows share tokens by other keys"
    forward = [node for node in ast.walk(trainer["compute_loss"]) if _is_forward(node)]
    assert len(forward) == 1, f"{opened}the forward is no longer made within compute_loss"
    assert "attn_implementation=TREE_ATTENTION" in source, f"{opened}the attention may be chosen"
    assert "/v1/completions" in (ASYNC / "async_rollout_worker.py").read_text(), f"{opened}vLLM is asked otherwise"


def _is_forward(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "model"
