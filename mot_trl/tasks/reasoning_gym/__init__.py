"""Reasoning Gym (arXiv:2505.24760): 105 generators of problems, with rewards, suites and a curriculum."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mot_trl.rewards.format import soft_format, tag_count
    from mot_trl.tasks.reasoning_gym.dataset import INSTRUCTION, load, names, row, stream
    from mot_trl.tasks.reasoning_gym.generator import GENERATOR
    from mot_trl.tasks.reasoning_gym.rewards import (
        SHAPING,
        SHAPING_WEIGHTS,
        ReasoningGymReward,
        ThinkingLength,
        accuracy,
        score,
        thinking_length,
    )
    from mot_trl.tasks.reasoning_gym.suites import SUITES, Part

# Imported when first asked for: the sandbox imports the scorers, and knows nothing of datasets.
_HOMES = {
    "GENERATOR": "generator",
    "INSTRUCTION": "dataset",
    "SHAPING": "rewards",
    "SHAPING_WEIGHTS": "rewards",
    "SUITES": "suites",
    "Part": "suites",
    "ReasoningGymReward": "rewards",
    "ThinkingLength": "rewards",
    "accuracy": "rewards",
    "load": "dataset",
    "names": "dataset",
    "row": "dataset",
    "score": "rewards",
    "soft_format": "rewards",
    "stream": "dataset",
    "tag_count": "rewards",
    "thinking_length": "rewards",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
