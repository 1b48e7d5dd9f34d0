"""A reward that raises names itself."""

import asyncio
import functools
from pathlib import Path
from typing import Any

import pytest
from conftest import make_model, make_tokenizer
from datasets import Dataset
from test_grpo_trainer import letters, settings
from torch import nn

from mot_trl import MoTGRPOConfig, MoTGRPOTrainer
from mot_trl.trainer.blame import named


def picky(completions: Any, **_: object) -> list[float]:
    raise KeyError("answer")


async def slow_and_picky(completions: Any, **_: object) -> list[float]:
    raise KeyError("answer")


class Picky:
    async def __call__(self, completions: Any, **_: object) -> list[float]:
        raise KeyError("answer")


@pytest.mark.parametrize("reward", [picky, slow_and_picky])
def test_the_trainer_says_which_reward_raised(reward: Any, tmp_path: Path, prompts: Dataset) -> None:
    trainer = MoTGRPOTrainer(
        make_model(),
        [letters, reward],
        MoTGRPOConfig(**settings(tmp_path)),
        train_dataset=prompts,
        processing_class=make_tokenizer(),
    )

    with pytest.raises(RuntimeError, match=f"'{reward.__name__}' raised KeyError: 'answer'") as caught:
        trainer.train()

    assert isinstance(caught.value.__cause__, KeyError)
    assert trainer.reward_funcs == [letters, reward]


@pytest.mark.parametrize("reward", [slow_and_picky, Picky(), functools.partial(Picky(), weight=1)])
def test_an_async_reward_stays_async(reward: Any) -> None:
    assert asyncio.iscoroutinefunction(named(reward, "picky"))

    with pytest.raises(RuntimeError, match="'picky'"):
        asyncio.run(named(reward, "picky")(completions=[]))


def test_a_reward_model_stays_a_module() -> None:
    model = nn.Linear(1, 1)

    assert named(model, "model") is model
