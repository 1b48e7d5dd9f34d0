"""One run of the study: train the embedded model one way, and measure it on held-out items."""

import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

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
from recipes.study.arms import PLAIN, law_of, laws
from recipes.study.config import Job, StudyConfig
from recipes.study.results_file import Line

logger = logging.get_logger(__name__)

ITEMS_SEED = 1


class Stopwatch(TrainerCallback):
    """Seconds of processor time from the start of training to the end of each step."""

    def __init__(self) -> None:
        self.start = 0.0
        self.seconds: list[float] = []

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Start."""
        self.start = time.process_time()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Note a step."""
        self.seconds.append(round(time.process_time() - self.start, 2))


def run(job: Job, config: StudyConfig) -> Line:
    """Train and measure; what goes wrong is part of the result.

    Returns:
        A line with `arm` and `seed` and, where training went wrong, `error`; else `correct`, the rollouts that earned
        1 in each step, out of `prompts * generations` that were new to the model; `seconds`, of processor time, up to
        each step; `candidates`, effective ones in a mixture at the first and the last step; `evaluations`, by law;
        and for the first seeds `cross`, the share of correct completions under every law.
    """
    line: Line = {"arm": job.arm.name, "seed": job.seed}
    try:
        return line | _run(job, config)
    except Exception as error:
        # A run that raises is a result, and must not end the others.
        logger.warning(f"{job.arm.name}, seed {job.seed}, raised:", exc_info=True)
        return line | {"error": f"{type(error).__name__}: {error}"}


def _run(job: Job, config: StudyConfig) -> Line:
    loaded = load_model(config)
    trained: Line = {} if job.arm.kind == "untrained" else train(loaded, job, config)
    rows = held_out(config)
    loaded.model.eval()
    # The start of every law is measured as well as every end.
    names = (
        laws() if job.arm.kind == "untrained" else dict.fromkeys([law_of(job.arm.settings), PLAIN, job.arm.control])
    )
    found = {name: evaluate(loaded, rows, laws()[name], config, samples=config.samples) for name in names}
    crossed: Line = {}
    if job.seed < config.cross_seeds and config.cross_items:
        some = rows[: config.cross_items]
        tried = {name: evaluate(loaded, some, law, config, samples=1)["correct"] for name, law in laws().items()}
        crossed = {"cross": {name: round(sum(each) / len(each), 4) for name, each in tried.items()}}
    return {**trained, "evaluations": found, **crossed}


def load_model(config: StudyConfig) -> Loaded:
    """The model that every run starts from, in float32."""
    if config.model is not None:
        return load_checkpoint(config.model, dtype="float32")
    return Loaded(*load_nano(), None)


def held_out(config: StudyConfig) -> list[dict[str, Any]]:
    """The items that every run is measured on, from the split that no run is trained on."""
    return list(nano.load(config.tasks, size=config.items, seed=ITEMS_SEED, split="test"))


def train(loaded: Loaded, job: Job, config: StudyConfig) -> Line:
    """Train the model in place, as every arm of the study is trained."""
    stopwatch = Stopwatch()
    with TemporaryDirectory() as folder:
        arguments = MoTGRPOConfig(
            output_dir=folder,
            **job.arm.settings.to_dict(),
            seed=job.seed,
            max_steps=config.steps,
            per_device_train_batch_size=config.prompts * config.generations,
            num_generations=config.generations,
            max_completion_length=config.max_new_tokens,
            learning_rate=job.arm.learning_rate or config.learning_rate,
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
            train_dataset=nano.load(config.tasks, size=config.steps * config.prompts, seed=job.seed, split="train"),
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
    loaded: Loaded, rows: Sequence[dict[str, Any]], law: DecoderConfig, config: StudyConfig, *, samples: int
) -> Line:
    """How many of each item's completions are correct, how long the thinking is, how often it is closed."""
    kwargs = {"max_new_tokens": config.max_new_tokens, "temperature": 1.0}
    plan = Plan(samples=samples, batch_size=config.prompts * config.generations, generation_kwargs=kwargs)
    with TemporaryDirectory() as folder:
        records = Records(Path(folder), {})
        done = sample_arm(loaded, rows, nano.correct_answer, law, plan=plan, records=records, progress=False)
    items = by_item(done)
    return {
        "correct": [correct(items[item]) for item in sorted(items)],
        "thinking": round(sum(sample.thinking_tokens for sample in done) / len(done), 2),
        "closed": round(sum(sample.closed for sample in done) / len(done), 4),
    }
