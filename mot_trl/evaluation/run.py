"""Evaluations: any models or adapters, under any strategies at inference, on any task, in one command."""

import importlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from accelerate import Accelerator, InitProcessGroupKwargs
from transformers import HfArgumentParser

from mot_trl.evaluation.records import Records
from mot_trl.evaluation.report import Arm, report, to_json, to_tables
from mot_trl.evaluation.sampling import Plan, Reward, sample_arm, settings_of
from mot_trl.generation.config import TRAINED, decoder_for, parse_settings
from mot_trl.modeling.checkpoints import fingerprint, load


@dataclass
class EvaluationConfig:
    """What to evaluate, on what, and how."""

    models: list[str] = field(default_factory=list, metadata={"help": "Folders or hub names of models or adapters."})
    strategies: list[str] = field(
        default_factory=lambda: ["one_token"],
        metadata={
            "help": "Strategies at inference: names with options such as `top_k:k=5`, presets, or `trained` for the "
            "checkpoint's own."
        },
    )
    base: str | None = field(default=None, metadata={"help": "Base of adapters, if not where they say."})
    task: str = field(default="gsm8k", metadata={"help": "A task of mot_trl, or a module with a function `load`."})
    reward: str = field(default="correct_answer", metadata={"help": "The task's reward; 1 is correct."})
    split: str = field(default="test", metadata={"help": "Split of the task's data."})
    data_path: str | None = field(default=None, metadata={"help": "Local data; by default from the hub."})
    limit: int | None = field(default=None, metadata={"help": "Only the first rows, this many."})
    samples: int = field(default=1, metadata={"help": "Completions of each row."})
    batch_size: int = field(default=16, metadata={"help": "Completions decoded together."})
    max_new_tokens: int = field(default=512, metadata={"help": "Longest completion, in tokens."})
    temperature: float | None = field(default=None, metadata={"help": "By default the checkpoint's."})
    top_p: float | None = field(default=None, metadata={"help": "By default the checkpoint's."})
    seed: int = field(default=0, metadata={"help": "Seed of the samples."})
    dtype: str = field(default="auto", metadata={"help": "Of the weights; by default as saved."})
    cpu: bool = field(default=False, metadata={"help": "Stay on the CPU."})
    output_dir: str = field(default="outputs/evaluation", metadata={"help": "Holds samples, report.json, report.md."})

    def __post_init__(self) -> None:
        """Refuse what names nothing, before any model is loaded."""
        if not self.models or not self.strategies:
            raise ValueError("Name at least one of `models` and one of `strategies`.")
        for word in self.strategies:
            if word != TRAINED:
                parse_settings(word)

    @property
    def plan(self) -> Plan:
        """How samples are drawn."""
        given = {"max_new_tokens": self.max_new_tokens, "temperature": self.temperature, "top_p": self.top_p}
        kwargs = {name: value for name, value in given.items() if value is not None}
        return Plan(samples=self.samples, batch_size=self.batch_size, seed=self.seed, generation_kwargs=kwargs)


def parse(defaults: Mapping[str, Any]) -> EvaluationConfig:
    """Read the command line over a recipe's defaults."""
    parser: Any = HfArgumentParser(EvaluationConfig)  # ty: ignore[invalid-argument-type]
    parser.set_defaults(**defaults)
    (config,) = parser.parse_args_into_dataclasses()
    return config


def run(config: EvaluationConfig) -> dict[str, Any]:
    """Evaluate every model under every strategy, write samples and report to `output_dir`, and print the tables.

    A run that was killed goes on where it stopped when it is started again. Under `accelerate launch`, processes share
    the batches. The report compares each arm with the first.

    Raises:
        FileNotFoundError: A model, or the task's data, is not there.
        ValueError: A setting is unknown or out of range, an adapter does not fit its base, a checkpoint carries no
            decoder or one that this library does not know, or `output_dir` holds samples of other settings.
    """
    patient = InitProcessGroupKwargs(timeout=timedelta(days=7))
    accelerator = Accelerator(cpu=config.cpu, kwargs_handlers=[patient])
    rows, reward = load_task(config)
    output, arms = Path(config.output_dir), []
    for path, name in zip(config.models, labels(config.models), strict=True):
        loaded = load(path, base=config.base, dtype=config.dtype, device=accelerator.device)
        weights = fingerprint(loaded.model)
        trained = None if loaded.mixture is None else str(loaded.mixture.get("strategy"))
        for word in config.strategies:
            decoder = decoder_for(word, loaded.mixture, path=path)
            settings = settings_of(loaded, rows, decoder, config.plan)
            task = {"task": config.task, "reward": config.reward, "weights": weights}
            records = Records(output / _file_name(f"{name}--{word}"), {**task, **settings})
            samples = sample_arm(
                loaded,
                rows,
                reward,
                decoder,
                plan=config.plan,
                records=records,
                progress=accelerator.is_main_process,
            )
            arms.append(Arm(name, trained, word, samples))
        del loaded
    found = report(arms)
    if accelerator.is_main_process:
        (output / "report.json").write_text(to_json(found), encoding="utf-8")
        (output / "report.md").write_text(to_tables(found), encoding="utf-8")
        print(to_tables(found))
    accelerator.end_training()
    return found


def load_task(config: EvaluationConfig) -> tuple[Sequence[Mapping[str, Any]], Reward]:
    """The rows and the reward that a config names.

    Raises:
        ValueError: There is no such task, or it has no such reward.
    """
    name = config.task if "." in config.task else f"mot_trl.tasks.{config.task}"
    try:
        task = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not name.startswith(error.name):
            raise  # an extra that the task needs
        raise ValueError(f"Unknown task {config.task!r}: there is no module {name}.") from error
    reward = getattr(task, config.reward, None)
    if not callable(reward):
        names = sorted(each for each, value in vars(task).items() if callable(value) and not each.startswith("_"))
        raise ValueError(f"The task {config.task!r} has no reward {config.reward!r}; its functions are {names}.")
    rows = task.load(config.split, config.data_path) if config.data_path else task.load(split=config.split)
    rows = list(rows)
    return rows[: config.limit], reward


def labels(paths: Sequence[str]) -> list[str]:
    """Short names for models: the last part of each path, and all of it where that would not tell them apart."""
    short = [Path(path).name or path for path in paths]
    return [path if short.count(name) > 1 else name for path, name in zip(paths, short, strict=True)]


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.,=+-]+", "_", text).strip("_")
