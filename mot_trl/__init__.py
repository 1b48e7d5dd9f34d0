"""Reinforcement learning of language models that think in mixtures of tokens, on an unmodified TRL."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mot_trl.config import MoTGRPOConfig
    from mot_trl.generation import Generation, MixtureDecoder, generate
    from mot_trl.mixture import Mixture
    from mot_trl.phases import Phases, build_phases
    from mot_trl.presets import PRESETS
    from mot_trl.rollout import Rollout
    from mot_trl.strategies import STRATEGIES, Strategy, build_strategy
    from mot_trl.trainer import MoTGRPOTrainer

__version__ = "0.1.0"

# Where each name lives. Loaded when first asked for: graders run in processes of their own, which need no torch.
_HOMES = {
    "Generation": "generation",
    "MixtureDecoder": "generation",
    "generate": "generation",
    "MoTGRPOConfig": "config",
    "MoTGRPOTrainer": "trainer",
    "Mixture": "mixture",
    "Phases": "phases",
    "build_phases": "phases",
    "PRESETS": "presets",
    "Rollout": "rollout",
    "STRATEGIES": "strategies",
    "Strategy": "strategies",
    "build_strategy": "strategies",
}

__all__ = [
    "PRESETS",
    "STRATEGIES",
    "Generation",
    "Mixture",
    "MixtureDecoder",
    "MoTGRPOConfig",
    "MoTGRPOTrainer",
    "Phases",
    "Rollout",
    "Strategy",
    "build_phases",
    "build_strategy",
    "generate",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
