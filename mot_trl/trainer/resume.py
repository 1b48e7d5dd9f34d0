"""Save checkpoints that carry their decoder, and resume a killed run as if nothing had happened."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from transformers.utils import logging

from mot_trl.generation.config import DecoderConfig
from mot_trl.generation.custom_generate import write_custom_generate
from mot_trl.generation.decoder import MixtureDecoder
from mot_trl.modeling.rollout import Rollout
from mot_trl.strategies import name_of, options_of
from mot_trl.trainer import model_card
from mot_trl.trainer.checkpoint_files import (
    check_same_mixtures,
    explaining_full_disk,
    has_same_mixtures,
    mark_incomplete,
    missing_space,
    optimizer_bytes,
    resolve_checkpoint,
    weight_bytes,
    write_manifest,
)
from mot_trl.trainer.run_summary import summarize_run

if TYPE_CHECKING:
    from trl import GRPOTrainer as Trainer
else:
    Trainer = object

logger = logging.get_logger(__name__)


class ResumableTrainer(Trainer):
    """The part of `MoTGRPOTrainer` that saves and resumes.

    Besides what transformers saves, a checkpoint holds the decoder, the rollouts that are still to be learned from
    (one file a process) and a manifest of its files. `trainer_state.json` is written last: a checkpoint with it is
    complete.
    """

    decoder: MixtureDecoder | None
    _sampler: Any = None

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """Train as TRL does; `mot_trl.trainer.checkpoint_files.resolve_checkpoint` says what can be resumed from.

        Raises:
            ValueError: There is no such checkpoint, it is incomplete, or it was trained with other mixtures and
                `resume_with_changes` is not set.
            RuntimeError: The disk has no space for the model.
        """
        config: Any = self.args
        checkpoint = resolve_checkpoint(resume_from_checkpoint, config.output_dir)
        if checkpoint is not None and not config.resume_with_changes:
            check_same_mixtures(checkpoint, self._decoder_settings)
        if checkpoint is not None:
            self.accelerator.print(f"Resuming from {checkpoint}.")
        self.accelerator.print(summarize_run(self, self._decoder_settings))
        self._check_disk_space()
        return super().train(checkpoint, *args, **kwargs)

    @property
    def decoder_config(self) -> DecoderConfig:
        """Config of the decoder, with every option of its strategy written out.

        Raises:
            ValueError: Its strategy is none of the library's.
        """
        if self.decoder is None:
            raise ValueError("`normal_generation=True` trains without a decoder.")
        args: Any = self.args
        strategy = self.decoder.strategy
        return replace(args.decoder, strategy=name_of(strategy), strategy_kwargs=options_of(strategy))

    @property
    def _decoder_settings(self) -> dict[str, Any]:
        """The decoder's config as plain data, to compare checkpoints; a user's own strategy goes by its class."""
        if self.decoder is None:
            return {"normal_generation": True}
        try:
            return self.decoder_config.to_dict()
        except ValueError:
            kind = type(self.decoder.strategy)
            return {"strategy": f"{kind.__module__}.{kind.__qualname__}", "mixture_score": self.decoder.mixture_score}

    def _check_disk_space(self) -> None:
        """Check disk space at the start, rather than when hours of work cannot be saved."""
        if not self.args.should_save:
            return
        model: Any = self.model
        weights = weight_bytes(model)
        if missing := missing_space(str(self.args.output_dir), weights):
            raise RuntimeError(f"{missing} for the model alone; make room, or choose another `output_dir`.")
        missing = missing_space(str(self.args.output_dir), weights + optimizer_bytes(model, None))
        if missing and self.args.save_strategy != "no":
            logger.warning(f"{missing} for a checkpoint with its optimizer's state.")

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Save if there is space. A checkpoint of the same name counts as incomplete until it is written again."""
        folder = Path(self._get_output_dir(trial=trial)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        missing = None
        if self.args.should_save:
            policy: Any = self.model
            missing = missing_space(folder, weight_bytes(policy) + optimizer_bytes(policy, self.optimizer))
        # Saving is collective under FSDP and ZeRO, so all processes skip it if one of them cannot write.
        if self.accelerator.reduce(torch.tensor(float(missing is not None), device=self.accelerator.device)) > 0:
            logger.warning(f"{missing}: step {self.state.global_step} is not saved. Make room before the next save.")
            return
        if self.args.should_save:
            mark_incomplete(folder)
        super()._save_checkpoint(model, trial)

    def _save_rng_state(self, output_dir: str) -> None:
        """Save the random state and the rollouts in use, then the manifest.

        transformers calls this last of all but `trainer_state.json`, so the manifest names every other file.
        """
        super()._save_rng_state(output_dir)
        config: Any = self.args
        # A generation serves `steps_per_generation` batches `num_iterations` times; only then is it used up.
        used_up = self._step % (config.steps_per_generation * self.num_iterations) == 0
        batches = None if used_up else self._buffered_inputs
        rollouts = {"step": self._step, "cut": self._batch_layout, "batches": batches}
        torch.save(rollouts, _rollouts_file(output_dir, self.args.process_index))
        # The manifest lists the files of all processes.
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            write_manifest(output_dir, self._decoder_settings)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Load the random state, and the rollouts that were in use if they fit this run."""
        super()._load_rng_state(checkpoint)
        if checkpoint is None or self.args.ignore_data_skip:
            return
        # Each process has its own rollouts. A checkpoint of stock TRL, or of fewer processes, has none for this one.
        path = _rollouts_file(checkpoint, self.args.process_index)
        rollouts: dict[str, Any] = {"cut": None}
        if path.is_file():
            rollouts = torch.load(path, map_location=self.accelerator.device, weights_only=True)
        if rollouts["cut"] != self._batch_layout:
            logger.warning(f"{checkpoint} has no rollouts that fit this run's batches, so new ones are generated.")
            return
        self._step = rollouts["step"]
        # Rollouts of another strategy cannot be scored by this one: TRL generates where no batch is buffered.
        if has_same_mixtures(checkpoint, self._decoder_settings):
            self._buffered_inputs = rollouts["batches"]

    def _init_training_state(self, *args: Any, **kwargs: Any) -> tuple[int, int]:
        """Bring the sampler to the epoch to resume in.

        TRL's sampler draws the order of each epoch from one generator, and transformers resumes with a fresh one:
        without this, a later epoch would repeat the order of the first.
        """
        epochs, batches = super()._init_training_state(*args, **kwargs)
        for _ in range(epochs if self._sampler is not None else 0):
            next(iter(self._sampler))
        return epochs, batches

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        """Train an epoch, unless the run that is resumed has done all its steps: transformers would take another."""
        if self.state.global_step < self.state.max_steps:
            super()._run_epoch(*args, **kwargs)
        else:
            self.control.should_training_stop = True

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Any:
        """Keep the sampler for `_init_training_state`."""
        self._sampler = super()._get_train_sampler(*args, **kwargs)
        return self._sampler

    def _save(self, *args: Any, **kwargs: Any) -> None:
        """Save the model, and with it the decoder and a section of the model card."""
        folder = (args[0] if args else kwargs.get("output_dir")) or str(self.args.output_dir)
        with explaining_full_disk(folder, weight_bytes(self.accelerator.unwrap_model(self.model))):
            super()._save(*args, **kwargs)
        if self.decoder is None or not self.args.should_save:
            return
        model: Any = self.accelerator.unwrap_model(self.model)
        sampling, generation_config = self.generation_kwargs, model.generation_config
        with _warning(f"{folder} carries no decoder"):
            write_custom_generate(folder, self.decoder_config, sampling=sampling, generation_config=generation_config)
        self._write_card(folder)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write TRL's card, which replaces the one that is there, and the section about mixtures again."""
        super().create_model_card(*args, **kwargs)
        if self.decoder is not None and self.is_world_process_zero():
            self._write_card(str(self.args.output_dir))

    def _write_card(self, folder: str) -> None:
        adapters = getattr(self.accelerator.unwrap_model(self.model), "peft_config", {})
        with _warning(f"The model card of {folder} says nothing of mixtures"):
            model_card.write_section(
                Path(folder) / "README.md",
                self.decoder_config,
                path=self.hub_model_id or Path(str(self.args.output_dir)).name,
                dataset=self.train_dataset,
                rewards=self.reward_func_names,
                log_history=self.state.log_history,
                step=self.state.global_step,
                base=next((str(each.base_model_name_or_path) for each in adapters.values()), None),
            )

    @property
    def _batch_layout(self) -> list[int | str]:
        """How generations are cut into batches, and what their record holds; other rollouts cannot be used."""
        config: Any = self.args
        return [
            config.world_size,
            config.per_device_train_batch_size,
            config.gradient_accumulation_steps,
            config.steps_per_generation,
            self.num_iterations,
            self.beta != 0.0,
            *(field.name for field in fields(Rollout)),
        ]


def _rollouts_file(checkpoint: str, process_index: int) -> Path:
    return Path(checkpoint) / f"rollouts_{process_index}.pt"


@contextmanager
def _warning(consequence: str) -> Generator[None]:
    """Warn instead of failing: the weights are saved by now, and matter more."""
    try:
        yield
    except (OSError, ValueError) as error:
        logger.warning(f"{consequence}: {error}")
