"""Reasoning Gym (arXiv:2505.24760): 105 generators of problems, with rewards, suites and a curriculum.

The sandbox imports this package to get at `scorers`, so nothing here may import more than the standard library, nor
`mot_trl.sandbox` itself, whose `__init__` is not run there. `callback` is for trainers and imported by its own name.
"""

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
