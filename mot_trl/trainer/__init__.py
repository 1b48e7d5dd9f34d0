"""The trainers: overrides of TRL's `GRPOTrainer` and `SFTTrainer`, and what they call."""

from mot_trl.trainer.config import MoTGRPOConfig
from mot_trl.trainer.grpo_trainer import MoTGRPOTrainer
from mot_trl.trainer.sft_config import MoTSFTConfig
from mot_trl.trainer.sft_trainer import MoTSFTTrainer

__all__ = ["MoTGRPOConfig", "MoTGRPOTrainer", "MoTSFTConfig", "MoTSFTTrainer"]
