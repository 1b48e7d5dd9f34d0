"""Evaluate models or adapters on a task under several strategies, in one command."""

import importlib
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from transformers import HfArgumentParser

from mot_trl.engines.vllm import check_version, load_engine
from mot_trl.evaluation.records import Records
from mot_trl.evaluation.report import Arm, report, to_json, to_tables
from mot_trl.evaluation.sampling import Plan, Reward, Rows, sample_arm, settings_of
from mot_trl.generation.config import TRAINED, DecoderConfig, decoder_for, parse_settings
from mot_trl.generation.generate import Engine
from mot_trl.modeling.loading import fingerprint, load_checkpoint
from mot_trl.rewards.signature import check_reward

Engines = Literal["transformers", "vllm"]


@dataclass
class EvaluationConfig:
    """Models, strategies, task and sampling of an evaluation."""

    models: list[str] = field(default_factory=list, metadata={"help": "Folders or hub names of models or adapters."})
    strategies: list[str] = field(
        default_factory=lambda: ["one_token"],
        metadata={"help": "At inference: names such as `top_k:k=5`, presets, or `trained` for the checkpoint's own."},
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
    engine: Engines = field(
        default="transformers", metadata={"help": "What generates; vLLM wants large batches, such as 256."}
    )
    vllm_engine_kwargs: dict | str | None = field(
        default=None, metadata={"help": "Further arguments of vLLM's engine, as JSON, such as `max_model_len`."}
    )
    dtype: str = field(default="auto", metadata={"help": "Of the weights; by default as saved."})
    cpu: bool = field(default=False, metadata={"help": "Stay on the CPU."})
    output_dir: str = field(default="outputs/evaluation", metadata={"help": "Holds samples, report.json, report.md."})

    def __post_init__(self) -> None:
        """Refuse missing models and unknown strategies before any model is loaded."""
        if not self.models or not self.strategies:
            raise ValueError("Name at least one of `models` and one of `strategies`.")
        for word in self.strategies:
            if word != TRAINED:
                parse_settings(word)
        if isinstance(self.vllm_engine_kwargs, str):
            with suppress(json.JSONDecodeError):
                self.vllm_engine_kwargs = json.loads(self.vllm_engine_kwargs)
        if not isinstance(self.vllm_engine_kwargs or {}, dict):
            raise TypeError(
                f"`vllm_engine_kwargs` must be a dict, or JSON on the command line: {self.vllm_engine_kwargs!r}."
            )
        if self.engine == "vllm":
            check_version()
        elif self.vllm_engine_kwargs:
            raise ValueError('`vllm_engine_kwargs` is for `engine="vllm"`; set that too, or leave it out.')

    @property
    def plan(self) -> Plan:
        """The sampling plan."""
        given = {"max_new_tokens": self.max_new_tokens, "temperature": self.temperature, "top_p": self.top_p}
        kwargs = {name: value for name, value in given.items() if value is not None}
        return Plan(self.samples, self.batch_size, self.seed, kwargs)


def parse(
    defaults: Mapping[str, Any], arguments: Sequence[str] | None = None, *, prog: str | None = None
) -> EvaluationConfig:
    """Read the command line, by default the process's, over a recipe's defaults."""
    parser: Any = HfArgumentParser(EvaluationConfig, prog=prog)  # ty: ignore[invalid-argument-type]
    parser.set_defaults(**defaults)
    return parser.parse_args_into_dataclasses(arguments)[0]


def run(config: EvaluationConfig) -> dict[str, Any]:
    """Evaluate every model under every strategy; write samples and report to `output_dir`, and print its tables.

    A killed run resumes when started again. Under `accelerate launch`, processes share the batches. The report
    compares each arm with the first.

    Raises:
        FileNotFoundError: A model or the task's data is missing.
        ValueError: A setting is unknown or out of range, an adapter does not fit its base, a checkpoint carries no
            decoder or one unknown to this version, or `output_dir` holds samples of other settings.
    """
    # Processes wait for the slowest one at the end of an arm, which may take longer than the default 10 minutes.
    accelerator = Accelerator(cpu=config.cpu, kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(days=7))])
    if config.engine == "vllm" and accelerator.num_processes > 1:
        raise ValueError("vLLM's engine uses several GPUs by itself (`tensor_parallel_size`); start one process.")
    rows, reward = load_task(config)
    output, arms = Path(config.output_dir), []
    # Models are labeled by the last part of their path, or by the whole path where last parts coincide.
    names = [Path(path).name or path for path in config.models]
    for path, short in zip(config.models, names, strict=True):
        name = path if names.count(short) > 1 else short
        device = "cpu" if config.engine == "vllm" else accelerator.device  # the GPU's memory is vLLM's
        loaded = load_checkpoint(path, base=config.base, dtype=config.dtype, device=device)
        engine = make_engine(config, path, loaded.model.dtype)
        # Weights are a setting too: another run may save others at the same path.
        task = {"task": config.task, "reward": config.reward, "weights": fingerprint(loaded.model)}
        if engine is not None:
            task |= {"engine": config.engine}
        # The decoder that a checkpoint carries is the only record of how it was trained.
        trained = None if loaded.mixture is None else str(loaded.mixture.get("strategy"))
        for word in config.strategies:
            decoder = decoder_for(word, loaded.mixture, path=path)
            folder = output / re.sub(r"[^\w.,=+-]+", "_", f"{name}--{word}").strip("_")
            records = Records(folder, {**task, **settings_of(loaded, rows, decoder, config.plan)})
            settings: dict[str, Any] = {"progress": accelerator.is_main_process, "engine": engine}
            samples = sample_arm(loaded, rows, reward, decoder, plan=config.plan, records=records, **settings)
            arms.append(Arm(name, trained, word, samples))
        del loaded, engine  # else two models would be in memory while the next one loads
    found = report(arms)
    if accelerator.is_main_process:
        (output / "report.json").write_text(to_json(found), encoding="utf-8")
        (output / "report.md").write_text(to_tables(found), encoding="utf-8")
        print(to_tables(found))
    accelerator.end_training()
    return found


def make_engine(config: EvaluationConfig, path: str, dtype: torch.dtype) -> Engine | None:
    """Make the engine that generates in a model's place, if there is to be one.

    Raises:
        ImportError: vLLM is not installed.
        ValueError: It cannot serve the model.
    """
    if config.engine != "vllm":
        return None
    given: Any = config.vllm_engine_kwargs or {}
    # vLLM's own "auto" would halve float32.
    arguments = {"dtype": str(dtype).removeprefix("torch."), "seed": config.seed, **given}
    return load_engine(path, DecoderConfig(), **arguments)


def load_task(config: EvaluationConfig) -> tuple[Rows, Reward]:
    """Load the rows and the reward function of the task.

    Raises:
        ValueError: The task does not exist, or has no such reward, or its rows lack what the reward needs.
    """
    task = _task_module(config.task)
    reward = getattr(task, config.reward, None)
    if not callable(reward):
        names = sorted(each for each, value in vars(task).items() if callable(value) and not each.startswith("_"))
        raise ValueError(f"The task {config.task!r} has no reward {config.reward!r}; its functions are {names}.")
    # Generated tasks have no data to point at, hence no second parameter.
    rows = task.load(config.split, config.data_path) if config.data_path else task.load(split=config.split)
    chosen = list(rows)[: config.limit]
    check_reward(reward, list(chosen[0]) if chosen else None)
    return chosen, reward


def _task_module(task: str) -> ModuleType:
    """Import a task of this package, or a module of the user's own."""
    for name in (f"mot_trl.tasks.{task}", task):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise  # the task exists, and what is missing is a dependency of it
    raise ValueError(
        f"Unknown task {task!r}: there is neither a module mot_trl.tasks.{task} nor one called {task} where Python "
        "looks for modules. `mot-trl evaluate` looks in the current folder too."
    )
