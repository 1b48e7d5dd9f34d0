"""Configuration of `MoTGRPOTrainer`: TRL's `GRPOConfig`, and fields for mixtures, presets and traces."""

from dataclasses import dataclass, field, fields
from typing import Any

from trl import GRPOConfig

from mot_trl.generation.config import DecoderConfig
from mot_trl.strategies import STRATEGIES
from mot_trl.strategies.presets import PRESETS
from mot_trl.strategies.surrogate import LogProbType

# Of every strategy but `one_token`, which draws from the whole vocabulary unless it is given a `k`. MoT-G's own value.
DEFAULT_K = 2


def flag(help_text: str, default: Any = None) -> Any:
    """Make a field that is a command-line flag."""
    return field(default=default, metadata={"help": help_text})


@dataclass
class MoTGRPOConfig(GRPOConfig):
    """TRL's `GRPOConfig` with mixtures; TRL's fields keep their names and meanings.

    An explicit value overrides the preset that `experiment_name` names, and the preset overrides the defaults, which
    are those of `DecoderConfig`.

    Raises:
        ValueError: A strategy, preset, score or option is unknown or out of range, or a setting of TRL's cannot go
            together with mixtures.
    """

    # transformers reads these from the command line as JSON.
    _VALID_DICT_FIELDS = [*GRPOConfig._VALID_DICT_FIELDS, "strategy_kwargs"]  # noqa: RUF012

    # None stands for "not given", so that a preset can be told from an explicit value; `_resolve` fills it in.
    experiment_name: str | None = flag(f"Preset of the fields below. One of: {', '.join(sorted(PRESETS))}.")
    strategy: str | None = flag(
        f"How mixtures are drawn (default {DecoderConfig.strategy}). One of: {', '.join(sorted(STRATEGIES))}."
    )
    strategy_kwargs: dict | str | None = flag("Further options of the strategy.")
    mixture_k: int | None = flag(f"Candidates in a mixture (default {DEFAULT_K}; for `one_token`, the vocabulary).")
    mixture_score: LogProbType | None = flag(
        "Log-probability in the loss: `density` of the draw, `expected` over the candidates, or that of the `visible` "
        f"token (default {DecoderConfig.mixture_score})."
    )
    loss_on_all_tokens: bool = flag("The same as `mixture_score=expected`.", False)
    # The baseline within the same script: everything else about the run stays.
    normal_generation: bool = flag("No mixtures at all: exactly TRL's generation and loss.", False)

    # When thinking begins and ends; the first rule to fire ends it.
    stop_text: str | None = flag(f"Text that ends the thinking (default {DecoderConfig.stop_text}).")
    start_text: str | None = flag("Text after which thinking begins; by default it begins at once.")
    max_mixture_tokens: int | None = flag("Thinking budget in tokens; `stop_text` is forced once it is spent.")
    cold_stop_threshold: float | None = flag("Entropy in nats below which thinking counts as cold; off by default.")
    cold_stop_patience: int | None = flag(
        f"Cold steps in a row after which `stop_text` is forced (default {DecoderConfig.cold_stop_patience})."
    )

    # Off only to compare: the numbers are the same, and memory and time grow with the prompts.
    share_prompts: bool = flag("Read each distinct prompt of a micro-batch once in the training pass.", True)
    # `benchmarks/traces.py` measures what these defaults cost.
    trace_steps: int = flag("Steps between traces of the mixtures, in `output_dir`/traces; 0 for none.", 50)
    trace_samples: int = flag("Completions in a trace.", 16)
    resume_with_changes: bool = flag(
        "Resume from a checkpoint although its strategy, k, score or phases differ from these.", False
    )

    def __post_init__(self) -> None:
        """Resolve the preset and check everything that needs no model."""
        super().__post_init__()
        self._resolve()
        if self.mixture_k is not None and self.mixture_k < 1:
            raise ValueError(f"`mixture_k={self.mixture_k}` must be at least 1.")
        # A budget as long as the completion would force the tag after the last token: no answer, no reward, ever.
        longest = self.max_completion_length
        if self.max_mixture_tokens is not None and longest is not None and self.max_mixture_tokens >= longest:
            raise ValueError(
                f"`max_mixture_tokens={self.max_mixture_tokens}` leaves no room for an answer within "
                f"`max_completion_length={longest}`; lower the one or raise the other."
            )
        if self.trace_steps < 0 or self.trace_samples < 1:
            raise ValueError(
                f"`trace_steps={self.trace_steps}` must be 0 (no traces) or more, and "
                f"`trace_samples={self.trace_samples}` at least 1."
            )
        # Building it refuses a strategy or an option that does not exist, before any model is loaded.
        _ = self.decoder
        if not self.normal_generation:
            self._check_engine()

    @property
    def decoder(self) -> DecoderConfig:
        """The decoder that the fields describe."""
        named = {each.name: getattr(self, each.name) for each in fields(DecoderConfig)}
        return DecoderConfig.from_dict({**named, "strategy_kwargs": self.strategy_options})

    @property
    def strategy_options(self) -> dict[str, Any]:
        """Options of the strategy, `mixture_k` among them."""
        # A command line that is no JSON arrives as text; transformers parses what begins with a brace.
        if isinstance(self.strategy_kwargs, str):
            raise TypeError(
                f"`strategy_kwargs` must be a dict, or JSON on the command line: {self.strategy_kwargs!r}."
            )
        # A flag of its own, since `k` is what every paper varies; it wins over a `k` among the options.
        size = {} if self.mixture_k is None else {"k": self.mixture_k}
        return {**(self.strategy_kwargs or {}), **size}

    def _resolve(self) -> None:
        """Fill in what is not given: from the preset, then from the defaults."""
        if self.experiment_name is not None and self.experiment_name not in PRESETS:
            raise ValueError(f"Unknown `experiment_name={self.experiment_name!r}`; choose one of {sorted(PRESETS)}.")
        if self.loss_on_all_tokens:
            if self.mixture_score not in (None, "expected"):
                raise ValueError(
                    "`loss_on_all_tokens` means `mixture_score='expected'`, but "
                    f"`mixture_score={self.mixture_score!r}` is set; leave one of them out."
                )
            self.mixture_score = "expected"
        preset = {} if self.experiment_name is None else PRESETS[self.experiment_name].settings
        if self.strategy is not None and self.strategy != preset.get("strategy"):
            # The preset's options belong to its own strategy.
            preset = {name: value for name, value in preset.items() if name not in ("strategy_kwargs", "mixture_k")}
        defaults = {each.name: each.default for each in fields(DecoderConfig) if each.name != "strategy_kwargs"}
        for name, value in {**defaults, **preset}.items():
            if getattr(self, name) is None:
                setattr(self, name, value)
        if self.mixture_k is None and self.strategy != "one_token" and "k" not in self.strategy_options:
            self.mixture_k = DEFAULT_K

    def _check_engine(self) -> None:
        for name in ("use_vllm", "use_transformers_continuous_batching"):
            if getattr(self, name):
                raise ValueError(
                    f"Mixtures need the model's embeddings at every step, so `{name}` must be False; "
                    "set `normal_generation=True` to train without mixtures."
                )
