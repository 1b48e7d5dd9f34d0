"""Tasks where width beats depth: puzzles whose possibilities are best followed all at once."""

from mot_trl.tasks.width.loading import TASKS, Family, correct_answer, demonstrations, load, puzzles

__all__ = ["TASKS", "Family", "correct_answer", "demonstrations", "load", "puzzles"]
