"""Puzzles for nano, the model that ships with the package; load it with `mot_trl.tasks.nano.model.load_nano`."""

from mot_trl.tasks.nano.puzzles import TASKS, Question, Split, correct_answer, load, questions, row

__all__ = ["TASKS", "Question", "Split", "correct_answer", "load", "questions", "row"]
