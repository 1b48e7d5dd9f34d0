"""Training through TRL's own vLLM backend: the records replay, weights are synced, and forced tokens are left out."""

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from vllm_engines import needs_vllm, tiny_checkpoint

from mot_trl import MoTGRPOConfig, MoTGRPOTrainer

pytestmark = needs_vllm

ENGINE = {"dtype": "float32", "enforce_eager": True, "kv_cache_memory_bytes": 1 << 26, "block_size": 32}


def config(tmp_path: Path, **settings: Any) -> MoTGRPOConfig:
    defaults = {
        "use_vllm": True,
        "vllm_max_model_length": 96,
        "vllm_engine_kwargs": ENGINE,
        "strategy": "dirichlet",
        "per_device_train_batch_size": 4,
        "num_generations": 2,
        "max_completion_length": 14,
        "max_steps": 2,
        "logging_steps": 1,
        "learning_rate": 1e-2,
        "use_cpu": True,
        "bf16": False,
        "report_to": [],
        "save_strategy": "no",
    }
    return MoTGRPOConfig(str(tmp_path), **{**defaults, **settings})


def any_reward(completions: list[str], **_: Any) -> list[float]:
    return [float(sum(map(ord, completion)) % 97) for completion in completions]


def make_trainer(tmp_path: Path, reward: Any = any_reward, peft_config: Any = None, **settings: Any) -> MoTGRPOTrainer:
    return MoTGRPOTrainer(
        AutoModelForCausalLM.from_pretrained(tiny_checkpoint(), dtype=torch.float32),
        reward,
        config(tmp_path, **settings),
        train_dataset=Dataset.from_dict({"prompt": ["Count to 2.", "Count to 30 please.", "a", "bb"]}),
        processing_class=AutoTokenizer.from_pretrained(tiny_checkpoint()),
        peft_config=peft_config,
    )


def check_logs(history: list[dict[str, float]]) -> None:
    """New weights arrived: with the first step's, the second's draws would have other log-probabilities."""
    logs = [log for log in history if "loss" in log]
    assert len(logs) == 2
    for log in logs:
        assert log["mixture/share"] > 0.1
        assert log["grad_norm"] > 0
        assert log["mixture/log_prob_gap"] < 2e-5
        assert log["sampling/sampling_logp_difference/max"] < 1e-4
        for name in ("min", "mean", "max"):
            assert log[f"sampling/importance_sampling_ratio/{name}"] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("adapter", [None, LoraConfig(r=4, target_modules=["q_proj", "v_proj", "up_proj"])])
def test_rollouts_replay_and_new_weights_arrive(tmp_path: Path, adapter: LoraConfig | None) -> None:
    trainer = make_trainer(
        tmp_path,
        peft_config=adapter,
        # The tag is forced: its tokens were not drawn, and a ratio of whole sequences would show them.
        max_mixture_tokens=4,
        vllm_importance_sampling_mode="sequence_truncate",
        beta=0.1 if adapter else 0.0,  # the KL term wants a probe of each thought in the record
    )

    trainer.train()

    check_logs(trainer.state.log_history)
    assert all(("kl" in log) == (adapter is not None) for log in trainer.state.log_history if "loss" in log)


def test_an_engine_that_sleeps_while_the_policy_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vllm import LLM

    slept: list[int] = []
    own = LLM.sleep
    monkeypatch.setattr(LLM, "sleep", lambda self, level: slept.append(level) or own(self, level))
    trainer = make_trainer(tmp_path, vllm_enable_sleep_mode=True)

    trainer.train()

    assert slept == [2, 2, 2]
    check_logs(trainer.state.log_history)
