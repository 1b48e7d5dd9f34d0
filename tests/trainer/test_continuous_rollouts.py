"""Training through TRL's call of continuous batching: the records replay, and the policy learns."""

from pathlib import Path
from typing import Any

import pytest
from conftest import make_model
from datasets import Dataset
from peft import LoraConfig
from torch import nn
from transformers import PreTrainedTokenizerFast

from mot_trl import MoTGRPOConfig, MoTGRPOTrainer

pytestmark = pytest.mark.slow


def any_reward(completions: list[str], **_: Any) -> list[float]:
    return [float(sum(map(ord, completion)) % 97) for completion in completions]


def make_trainer(
    folder: Path, tokenizer: PreTrainedTokenizerFast, *, adapter: LoraConfig | None = None, **settings: Any
) -> MoTGRPOTrainer:
    defaults = {
        "use_transformers_continuous_batching": True,
        "transformers_continuous_batching_config": {"page_size": 16, "num_blocks": 24, "max_batch_tokens": 32},
        "strategy": "dirichlet",
        "max_mixture_tokens": 4,
        "per_device_train_batch_size": 4,
        "num_generations": 2,
        "max_completion_length": 14,
        "max_steps": 2,
        "logging_steps": 1,
        "learning_rate": 1e-2,
        "temperature": 1.5,
        "use_cpu": True,
        "bf16": False,
        "report_to": [],
        "save_strategy": "no",
    }
    return MoTGRPOTrainer(
        make_model(),
        any_reward,
        MoTGRPOConfig(str(folder), **{**defaults, **settings}),
        train_dataset=Dataset.from_dict({"prompt": ["Count to 2.", "Count to 30 please.", "a", "bb"]}),
        processing_class=tokenizer,
        peft_config=adapter,
    )


@pytest.mark.parametrize("adapter", [None, LoraConfig(r=4, target_modules=["q_proj", "v_proj"])])
@pytest.mark.filterwarnings("ignore:Some module:UserWarning")
def test_rollouts_replay(tmp_path: Path, tokenizer: PreTrainedTokenizerFast, adapter: LoraConfig | None) -> None:
    # The KL term wants a probe of each thought in the record.
    trainer = make_trainer(tmp_path, tokenizer, adapter=adapter, beta=0.1 if adapter else 0.0)

    trainer.train()

    logs = [log for log in trainer.state.log_history if "loss" in log]
    assert len(logs) == 2
    for log in logs:
        assert log["mixture/share"] > 0.1
        assert ("kl" in log) == (adapter is not None)
        assert log["grad_norm"] > 0
        assert log["mixture/log_prob_gap"] < 2e-5


def test_without_mixtures_it_is_trls_own(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    trainer = make_trainer(tmp_path, tokenizer, normal_generation=True, max_steps=1)

    trainer.train()

    assert "mixture/share" not in trainer.state.log_history[0]


def test_what_dies_on_the_way_is_told(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    trainer = make_trainer(
        tmp_path, tokenizer, transformers_continuous_batching_config={"page_size": 4, "num_blocks": 3}
    )

    with pytest.raises(RuntimeError, match="continuous batching failed: No requests can be scheduled"):
        trainer.train()
    assert not {"generate_batch", "init_continuous_batching"} & set(vars(trainer.model))
    assert isinstance(trainer.model, nn.Module)
