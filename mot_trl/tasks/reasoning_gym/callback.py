"""Training data from Reasoning Gym, and the callback that feeds the trainer's log to a curriculum."""

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mot_trl.tasks.reasoning_gym.curriculum import Curriculum
from mot_trl.tasks.reasoning_gym.dataset import load, stream
from mot_trl.tasks.reasoning_gym.suites import TaskMixture, parts

# Generation batches that may be drawn beyond those a step needs. A bound, for what is drawn depends on prefetching: a
# level may change only at rows that no process can have drawn yet, or a resumed run would draw others.
_AHEAD = 3


class CurriculumCallback(TrainerCallback):
    """Feeds the log to the `Curriculum` that a stream was made with; on resuming, the checkpoint's log first.

    Raises:
        ValueError: When training begins: `shuffle_dataset` is set.
    """

    def __init__(self, curriculum: Curriculum) -> None:
        """Keep the curriculum."""
        self._curriculum = curriculum

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Read the log up to here."""
        if getattr(args, "shuffle_dataset", False):
            raise ValueError(
                "A curriculum needs `shuffle_dataset=False`: TRL shuffles within a thousand rows, which it draws from "
                "the stream before training on the first."
            )
        self._curriculum.reset()
        for entry in state.log_history:
            self._curriculum.read(entry, lambda step: rows_drawn(args, step))

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Read the latest entry."""
        self._curriculum.read(state.log_history[-1], lambda step: rows_drawn(args, step))


def rows_drawn(args: Any, step: int) -> int:
    """An upper bound on the rows that a `GRPOTrainer` has drawn from a stream when the log's `step`, from 1, ends."""
    uses = args.steps_per_generation * args.num_iterations
    rows = args.generation_batch_size // args.num_generations
    return (step * args.gradient_accumulation_steps // uses + _AHEAD) * rows


def training_data(mixture: TaskMixture, *, size: int, seed: int = 42, curriculum: bool = False) -> dict[str, Any]:
    """`train_dataset` and `callbacks` for a `GRPOTrainer`; for the mixture and its seed see `load`.

    Args:
        size: Number of rows; 0 for an endless stream, which needs `max_steps`.
        curriculum: A stream whose items become harder as they are solved. Also needs `shuffle_dataset=False`.
    """
    if curriculum:
        levels = Curriculum([part.task for part in parts(mixture, {})])
        return {"train_dataset": stream(mixture, seed=seed, level=levels), "callbacks": [CurriculumCallback(levels)]}
    rows = load(mixture, size=size, seed=seed) if size else stream(mixture, seed=seed)
    return {"train_dataset": rows, "callbacks": []}
