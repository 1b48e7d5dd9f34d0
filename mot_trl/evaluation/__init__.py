"""Evaluate models under any strategies: accuracy, pass@k, majority vote and lengths."""

from mot_trl.evaluation.run import EvaluationConfig, labels, load_task, parse, run

__all__ = ["EvaluationConfig", "labels", "load_task", "parse", "run"]
