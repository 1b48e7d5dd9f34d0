"""Small puzzles for `nano`, the model that comes with the package; the model is in `mot_trl.tasks.nano.model`."""

from mot_trl.tasks.nano.puzzles import TASKS, Question, Split, correct_answer, load, questions, row

__all__ = ["TASKS", "Question", "Split", "correct_answer", "load", "questions", "row"]
