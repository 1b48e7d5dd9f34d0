"""What a trainer does so that a killed run goes on as if nothing had happened."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from transformers.utils import logging

from mot_trl.trainer.checkpoint_files import as_json, find, read_manifest, refuse_other_mixtures, seal, unseal
from mot_trl.trainer.space import optimizer_bytes, shortage, weight_bytes

if TYPE_CHECKING:
    from trl import GRPOTrainer as Trainer
else:
    Trainer = object

logger = logging.get_logger(__name__)


class Resuming(Trainer):
    """The part of `MoTGRPOTrainer` that saves checkpoints and goes on from them.

    Beside what transformers saves, a checkpoint holds the rollouts that are still to be learnt from, one file a
    process, and a list of its files; `trainer_state.json` comes last, so that one can tell a whole checkpoint.
    """

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """Train as TRL does; see `mot_trl.trainer.checkpoint_files.find` for what may be resumed from.

        Raises:
            ValueError: There is no such checkpoint, it is not whole, or it was trained with other mixtures and
                `resume_with_changes` is not set.
            RuntimeError: The disk has no room for the model.
        """
        config: Any = self.args
        checkpoint = find(resume_from_checkpoint, config.output_dir)
        if checkpoint is not None and not config.resume_with_changes:
            refuse_other_mixtures(checkpoint, self.mixtures)
        if checkpoint is not None:
            self.accelerator.print(f"Resuming from {checkpoint}.")
        self._ask_for_room()
        return super().train(checkpoint, *args, **kwargs)

    def _ask_for_room(self) -> None:
        """Speak up before the first step, rather than when hours of work cannot be saved."""
        if not self.args.should_save:
            return
        model: Any = self.model
        weights = weight_bytes(model)
        if missing := shortage(str(self.args.output_dir), weights):
            raise RuntimeError(f"{missing} for the model alone; make room, or choose another `output_dir`.")
        missing = shortage(str(self.args.output_dir), weights + optimizer_bytes(model, None))
        if missing and self.args.save_strategy != "no":
            logger.warning(f"{missing} for a checkpoint with its optimizer's state.")

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Save as TRL does, if there is room; what is there under the same name stops being a checkpoint first."""
        folder = Path(self._get_output_dir(trial=trial)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        missing = None
        if self.args.should_save:
            policy: Any = self.model
            missing = shortage(folder, weight_bytes(policy) + optimizer_bytes(policy, self.optimizer))
        if self.accelerator.reduce(torch.tensor(float(missing is not None), device=self.accelerator.device)) > 0:
            logger.warning(f"{missing}: step {self.state.global_step} is not saved. Make room before the next save.")
            return
        if self.args.should_save:
            unseal(folder)
        super()._save_checkpoint(model, trial)

    def _save_rng_state(self, output_dir: str) -> None:
        """Save, with the random state, the rollouts that have not been used up; the last files of a checkpoint."""
        super()._save_rng_state(output_dir)
        config: Any = self.args
        used_up = self._step % (config.steps_per_generation * self.num_iterations) == 0
        rollouts = {"step": self._step, "cut": self._cut, "batches": None if used_up else self._buffered_inputs}
        torch.save(rollouts, _rollouts_file(output_dir, self.args.process_index))
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            seal(output_dir, self.mixtures)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Take up, with the random state, the rollouts that were left."""
        super()._load_rng_state(checkpoint)
        if checkpoint is None or self.args.ignore_data_skip:
            return
        path = _rollouts_file(checkpoint, self.args.process_index)
        rollouts: dict[str, Any] = {"cut": None}
        if path.is_file():
            rollouts = torch.load(path, map_location=self.accelerator.device, weights_only=True)
        if rollouts["cut"] != self._cut:
            logger.warning(f"{checkpoint} has no rollouts for batches of this size, so all are drawn anew.")
            return
        self._step = rollouts["step"]
        if read_manifest(checkpoint)["mixtures"] == as_json(self.mixtures):
            self._buffered_inputs = rollouts["batches"]

    def _init_training_state(self, *args: Any, **kwargs: Any) -> tuple[int, int]:
        """Bring TRL's sampler, which draws each epoch's order after the last one's, to the epoch to resume in."""
        epochs, batches = super()._init_training_state(*args, **kwargs)
        for _ in range(epochs if self._sampler is not None else 0):
            next(iter(self._sampler))
        return epochs, batches

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Any:
        """Keep the sampler in sight."""
        self._sampler = super()._get_train_sampler(*args, **kwargs)
        return self._sampler

    _sampler: Any = None

    @property
    def mixtures(self) -> dict[str, Any]:
        """How the model thinks, in plain values: what a checkpoint is compared by."""
        raise NotImplementedError

    @property
    def _cut(self) -> list[int]:
        """How generations are cut into batches; rollouts that were cut otherwise are of no use."""
        config: Any = self.args
        return [
            config.world_size,
            config.per_device_train_batch_size,
            config.gradient_accumulation_steps,
            config.steps_per_generation,
            self.num_iterations,
        ]


def _rollouts_file(checkpoint: str, process_index: int) -> Path:
    return Path(checkpoint) / f"rollouts_{process_index}.pt"
