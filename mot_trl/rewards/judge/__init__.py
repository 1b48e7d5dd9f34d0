"""An LLM as a judge of answers, quality and pairs."""

from mot_trl.rewards.judge.client import Limits
from mot_trl.rewards.judge.reward import JudgeReward, judge_or

__all__ = ["JudgeReward", "Limits", "judge_or"]
