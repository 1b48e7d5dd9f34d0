"""Accuracy, pass@k, majority vote and lengths, of any models under any strategies."""

from mot_trl.evaluation.run import EvaluationConfig, labels, load_task, parse, run

__all__ = ["EvaluationConfig", "labels", "load_task", "parse", "run"]
