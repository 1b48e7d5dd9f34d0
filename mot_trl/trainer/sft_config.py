"""Configuration of `MoTSFTTrainer`: TRL's `SFTConfig`, and fields for soft exposure."""

from dataclasses import dataclass
from typing import Any

from trl import SFTConfig

from mot_trl.generation.config import DecoderConfig, spell_out
from mot_trl.strategies import STRATEGIES
from mot_trl.trainer.config import flag


@dataclass
class MoTSFTConfig(SFTConfig):
    """TRL's `SFTConfig` with soft exposure; TRL's fields keep their names and meanings.

    Raises:
        ValueError: The strategy, an option of it, or `exposure` is unknown or out of range.
    """

    # transformers reads these from the command line as JSON.
    _VALID_DICT_FIELDS = [*SFTConfig._VALID_DICT_FIELDS, "strategy_kwargs"]  # noqa: RUF012

    exposure: float = flag("Share of the thinking tokens that are fed as a blend of the model's own prediction.", 0.0)
    strategy: str = flag(
        f"How those blends are drawn, with options or without (`top_k:k=5`). One of: {', '.join(sorted(STRATEGIES))}.",
        DecoderConfig.strategy,
    )
    strategy_kwargs: dict[str, Any] | str | None = flag("Options of the strategy.")
    stop_text: str = flag("Text that ends the thinking.", DecoderConfig.stop_text)
    start_text: str | None = flag("Text after which thinking begins; by default it begins with the completion.")
    restart_text: str | None = flag("Text after which it begins again once it has ended; by default it never does.")

    def __post_init__(self) -> None:
        """Check everything that needs no model."""
        super().__post_init__()
        if not 0 <= self.exposure <= 1:
            raise ValueError(f"`exposure={self.exposure}` is a share of the thinking tokens: give 0 to 1.")
        # Building it refuses a strategy or an option that does not exist, before any model is loaded.
        _ = self.decoder

    @property
    def decoder(self) -> DecoderConfig:
        """The decoder that the fields describe."""
        if isinstance(self.strategy_kwargs, str):
            raise TypeError(
                f"`strategy_kwargs` must be a dict, or JSON on the command line: {self.strategy_kwargs!r}."
            )
        drawn = spell_out({"strategy": self.strategy, "strategy_kwargs": self.strategy_kwargs or {}})
        texts = {name: getattr(self, name) for name in ("stop_text", "start_text", "restart_text")}
        return DecoderConfig.from_dict({**drawn, **texts})
