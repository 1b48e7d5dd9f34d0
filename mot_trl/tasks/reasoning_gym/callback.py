"""Reasoning Gym for a trainer: its rows, and the callback that lets a curriculum read the trainer's log."""

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mot_trl.tasks.reasoning_gym.curriculum import Curriculum
from mot_trl.tasks.reasoning_gym.dataset import load, stream
from mot_trl.tasks.reasoning_gym.suites import Mixture, parts

# Generation batches that may be under way when a step ends: the one in use, and the one fetched ahead.
_AHEAD = 3


class CurriculumCallback(TrainerCallback):
    """Feeds the log to a `Curriculum`; after a resumption, first the log of the checkpoint.

    Needs `shuffle_dataset=False`: TRL shuffles a stream within a thousand rows, which would be drawn in advance.

    Args:
        curriculum: The one that the stream was made with.
    """

    def __init__(self, curriculum: Curriculum) -> None:
        """Keep the curriculum."""
        self._curriculum = curriculum

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Read the log up to here; raises ValueError where the stream is shuffled."""
        if getattr(args, "shuffle_dataset", False):
            raise ValueError(
                "A curriculum needs `shuffle_dataset=False`: TRL shuffles within a thousand rows, which it draws from "
                "the stream before training on the first."
            )
        self._curriculum.reset()
        for entry in state.log_history:
            self._curriculum.read(entry, lambda step: rows_drawn(args, step))

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Read the entry that has just been made."""
        self._curriculum.read(state.log_history[-1], lambda step: rows_drawn(args, step))


def rows_drawn(args: Any, step: int) -> int:
    """A bound on the rows that a `GRPOTrainer` has drawn from a stream when optimizer step `step` ends.

    Args:
        args: A `GRPOConfig`.
        step: Counted from 1, as in the log.
    """
    uses = args.steps_per_generation * args.num_iterations
    rows = args.generation_batch_size // args.num_generations
    return (step * args.gradient_accumulation_steps // uses + _AHEAD) * rows


def training_data(mixture: Mixture, *, size: int, seed: int = 42, curriculum: bool = False) -> dict[str, Any]:
    """What a `GRPOTrainer` takes as `train_dataset` and `callbacks`.

    Args:
        mixture: See `load`.
        size: Rows; 0 for a stream without end, which needs `max_steps`.
        seed: Reasoning Gym's.
        curriculum: A stream whose items become harder as they are solved. Needs `shuffle_dataset=False`, too.
    """
    if curriculum:
        levels = Curriculum([part.task for part in parts(mixture, {})])
        return {"train_dataset": stream(mixture, seed=seed, level=levels), "callbacks": [CurriculumCallback(levels)]}
    return {
        "train_dataset": load(mixture, size=size, seed=seed) if size else stream(mixture, seed=seed),
        "callbacks": [],
    }
