"""The trainer: overrides of TRL's `GRPOTrainer`, and what they call."""

from mot_trl.trainer.config import MoTGRPOConfig
from mot_trl.trainer.grpo_trainer import MoTGRPOTrainer

__all__ = ["MoTGRPOConfig", "MoTGRPOTrainer"]
