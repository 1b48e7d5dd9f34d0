"""Rollouts through TRL's call of transformers' continuous batching, with mixtures and their record."""

from typing import Any

from trl import GRPOTrainer

from mot_trl.engines.continuous_batching import generate_batch
from mot_trl.generation.decoder import MixtureDecoder
from mot_trl.modeling.patching import hold
from mot_trl.modeling.rollout import Rollout
from mot_trl.trainer.checks import base_model


class ContinuousTrainer(GRPOTrainer):
    """TRL's trainer, whose `use_transformers_continuous_batching` thinks in mixtures."""

    decoder: MixtureDecoder | None
    _engine_record: Rollout | None

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
        """Let TRL call a `generate_batch` that thinks in mixtures, and keep its record."""
        decoder = self.decoder
        if not self.use_transformers_continuous_batching or decoder is None:
            return super()._generate_single_turn(*args, **kwargs)
        model = base_model(self.accelerator.unwrap_model(self.model))

        def generate_with_record(*inputs: Any, **settings: Any) -> dict[str, Any]:
            outputs, self._engine_record = generate_batch(model, decoder, *inputs, **settings)
            return outputs

        with hold([model], "generate_batch", generate_with_record):
            return super()._generate_single_turn(*args, **kwargs)
