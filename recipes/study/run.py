"""One run of the study: train nano as one variant, and evaluate it on held-out items."""

import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback
from transformers.utils import logging

from mot_trl.evaluation.records import Records
from mot_trl.evaluation.report import by_item, correct
from mot_trl.evaluation.sampling import Plan, sample_arm
from mot_trl.generation.config import DecoderConfig
from mot_trl.modeling.loading import Loaded, load_checkpoint
from mot_trl.tasks import nano
from mot_trl.tasks.nano.model import load_nano
from mot_trl.trainer.config import MoTGRPOConfig
from mot_trl.trainer.grpo_trainer import MoTGRPOTrainer
from recipes.study.config import Run, StudyConfig
from recipes.study.results_file import Result
from recipes.study.variants import samplers

logger = logging.get_logger(__name__)

ITEMS_SEED = 1


class Stopwatch(TrainerCallback):
    """Processor time (seconds) from the start of training to the end of each step."""

    def __init__(self) -> None:
        self.start = 0.0
        self.seconds: list[float] = []

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Start the clock."""
        self.start = time.process_time()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Record a step."""
        self.seconds.append(round(time.process_time() - self.start, 2))


def execute(run: Run, config: StudyConfig) -> Result:
    """Train and evaluate; an exception becomes part of the result.

    Returns:
        A dict with `variant` and `seed`, and `error` if the run raised. Else `correct`, the number of correct rollouts
        in each step, out of `prompts * generations` on new prompts; `seconds` of processor time up to each step;
        `candidates`, the effective number in a mixture at the first and the last step; `evaluations` by sampler; and
        for the first seeds `cross`, the accuracy under every sampler.
    """
    result: Result = {"variant": run.variant.name, "seed": run.seed}
    try:
        return result | _execute(run, config)
    except Exception as error:
        # Divergence is a finding about the variant, and must not stop the other runs.
        logger.warning(f"{run.variant.name}, seed {run.seed}, raised:", exc_info=True)
        return result | {"error": f"{type(error).__name__}: {error}"}


def _execute(run: Run, config: StudyConfig) -> Result:
    loaded = load_model(config)
    trained: Result = {}
    if run.variant.kind != "untrained":
        questions = nano.load(config.tasks, size=config.steps * config.prompts, seed=run.seed, split="train")
        rate = run.variant.learning_rate or config.learning_rate
        trained = train(loaded, questions, run.variant.settings, config, seed=run.seed, learning_rate=rate)
    rows = held_out(config)
    loaded.model.eval()
    # A sampler changes the accuracy without any training, so each needs a starting point of its own.
    names = samplers() if run.variant.kind == "untrained" else run.variant.samplers
    found = {name: evaluate(loaded, rows, samplers()[name], config, samples=config.samples) for name in names}
    crossed: Result = {}
    if run.seed < config.cross_seeds and config.cross_items:
        some = rows[: config.cross_items]
        tried = {name: evaluate(loaded, some, each, config, samples=1) for name, each in samplers().items()}
        crossed = {"cross": {name: round(sum(each["correct"]) / len(some), 4) for name, each in tried.items()}}
    return {**trained, "evaluations": found, **crossed}


def load_model(config: StudyConfig) -> Loaded:
    """Load the model that every run starts from, in float32."""
    if config.model is not None:
        return load_checkpoint(config.model, dtype="float32")
    return Loaded(*load_nano(), None)


def held_out(config: StudyConfig) -> list[dict[str, Any]]:
    """The items that every run is evaluated on, from the split that no run trains on."""
    return list(nano.load(config.tasks, size=config.items, seed=ITEMS_SEED, split="test"))


def begun(rows: Any, settings: DecoderConfig, loaded: Loaded) -> list[dict[str, Any]]:
    """Rows whose prompts, as text, end in the settings' start text, if there is one: it is fed and never drawn."""
    if settings.start_text is None:
        return list(rows)
    chats = loaded.tokenizer.apply_chat_template(
        [row["prompt"] for row in rows], tokenize=False, add_generation_prompt=True
    )
    return [{**row, "prompt": f"{chat}{settings.start_text}"} for row, chat in zip(rows, chats, strict=True)]


class Settings(Protocol):
    """What `train` reads of a study's settings."""

    steps: int
    prompts: int
    generations: int

    @property
    def max_new_tokens(self) -> int:
        """Longest completion, in tokens."""
        ...


def train(
    loaded: Loaded, questions: Any, settings: DecoderConfig, config: Settings, *, seed: int, learning_rate: float
) -> Result:
    """Train the model in place with GRPO, with the settings that all variants share."""
    stopwatch = Stopwatch()
    with TemporaryDirectory() as folder:
        arguments = MoTGRPOConfig(
            output_dir=folder,
            **settings.to_dict(),
            seed=seed,
            max_steps=config.steps,
            per_device_train_batch_size=config.prompts * config.generations,
            num_generations=config.generations,
            max_completion_length=config.max_new_tokens,
            learning_rate=learning_rate,
            lr_scheduler_type="constant",
            gradient_checkpointing=False,
            use_cpu=True,
            bf16=False,
            logging_steps=1,
            trace_steps=0,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
        )
        trainer = MoTGRPOTrainer(
            loaded.model,
            nano.correct_answer,
            arguments,
            train_dataset=Dataset.from_list(begun(questions, settings, loaded)),
            processing_class=loaded.tokenizer,
            callbacks=[stopwatch],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    log = [entry for entry in trainer.state.log_history if "reward" in entry]
    rollouts = config.prompts * config.generations
    candidates = [entry["mixture/effective_candidates"] for entry in log]
    return {
        "correct": [round(entry["reward"] * rollouts) for entry in log],
        "seconds": stopwatch.seconds,
        "candidates": [round(candidates[0], 3), round(candidates[-1], 3)],
    }


def evaluate(
    loaded: Loaded, rows: Sequence[dict[str, Any]], sampler: DecoderConfig, config: StudyConfig, *, samples: int
) -> Result:
    """Correct completions of each item, mean thinking length (tokens), and the share of closed thinking."""
    kwargs = {"max_new_tokens": config.max_new_tokens, "temperature": 1.0}
    plan = Plan(samples=samples, batch_size=config.prompts * config.generations, generation_kwargs=kwargs)
    with TemporaryDirectory() as folder:
        records = Records(Path(folder), {})
        rows = begun(rows, sampler, loaded)
        done = sample_arm(loaded, rows, nano.correct_answer, sampler, plan=plan, records=records, progress=False)
    items = by_item(done)
    return {
        "correct": [correct(items[item]) for item in sorted(items)],
        "thinking": round(sum(sample.thinking_tokens for sample in done) / len(done), 2),
        "closed": round(sum(sample.closed for sample in done) / len(done), 4),
    }
