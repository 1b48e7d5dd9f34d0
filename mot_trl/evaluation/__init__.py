"""Evaluate models under any strategies: accuracy, pass@k, majority vote and lengths."""

from mot_trl.evaluation.run import EvaluationConfig, load_task, parse, run

__all__ = ["EvaluationConfig", "load_task", "parse", "run"]
