"""Guess a number with hints: an environment that keeps a secret, and answers each guess with higher or lower.

GRPOTrainer(..., train_dataset=load(size=1000), **TRAINER)
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import Dataset

GUESSES = 4
LARGEST = 2**GUESSES - 1
"""As many numbers as bisection can tell apart."""


class GuessNumber:
    """A secret number from 1 to 15, to be found with four guesses. It pays 1 if it is found, else 0."""

    def __init__(self) -> None:
        self.reset()

    def reset(self, secret: int = 1, **_: Any) -> None:
        """Keep a new secret."""
        self._secret, self._left, self._found = secret, GUESSES, False

    def guess(self, number: int) -> str:
        """Guess the secret number.

        Args:
            number: A whole number from 1 to 15.

        Returns:
            Whether the secret is higher or lower, or that it is found.
        """
        # All guesses count, those of a model that asks for a hundred at once too.
        if self._found or not self._left:
            return "over"
        self._left -= 1
        if isinstance(number, bool) or not isinstance(number, int):
            return "no number"
        self._found = number == self._secret
        return "found" if self._found else "higher" if number < self._secret else "lower"

    def get_reward(self) -> float:
        """Pay for the secret."""
        return float(self._found)


def load(size: int = 1000, *, seed: int = 0, split: str = "train") -> Dataset:
    """Make rows with `prompt` (one user message, always the same) and `secret`; each split has its own random ones.

    Raises:
        ValueError: `split` is neither `train` nor `test`.
    """
    import datasets

    if split not in ("train", "test"):
        raise ValueError(f"Unknown split {split!r}; choose 'train' or 'test'.")
    generator = random.Random(f"guess_number {seed} {split}")
    content = f"Find my number from 1 to {LARGEST} with {GUESSES} guesses."
    row = {"prompt": [{"role": "user", "content": content}]}
    return datasets.Dataset.from_list([{**row, "secret": generator.randint(1, LARGEST)} for _ in range(size)])


TRAINER: dict[str, Any] = {"environment_factory": GuessNumber, "reward_funcs": []}
"""The trainer's arguments beside the rows."""
