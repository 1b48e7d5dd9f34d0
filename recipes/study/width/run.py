"""One run of the study's second part: teach a way to think, or train an arm with GRPO; and evaluate."""

from pathlib import Path
from typing import Any, cast

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from mot_trl.modeling.loading import Loaded
from mot_trl.tasks import width
from recipes.nano.evaluation import complete
from recipes.nano.soft import teach, walker
from recipes.study.config import TUNING_SEED
from recipes.study.results_file import Result, read
from recipes.study.run import ITEMS_SEED, train
from recipes.study.width.arms import ARMS, Arm
from recipes.study.width.config import Run, WidthConfig

logger = logging.get_logger(__name__)


def execute(run: Run, config: WidthConfig) -> Result:
    """Train and evaluate; an exception becomes part of the result.

    Returns:
        A dict with `variant` and `seed`, and `error` if the run raised. Else `evaluations` by arm (see `evaluate`), of
        all arms of the way that was taught; of GRPO, those of the arm and its greedy decoding, and the curve that
        `recipes.study.run.train` returns.
    """
    result: Result = {"variant": run.name, "seed": run.seed}
    try:
        return result | (_grpo(run, config) if run.stage == "grpo" else _teach(run, config))
    except Exception as error:
        # Divergence is a finding about the arm, and must not stop the other runs.
        logger.warning(f"{run.name}, seed {run.seed}, raised:", exc_info=True)
        return result | {"error": f"{type(error).__name__}: {error}"}


def _teach(run: Run, config: WidthConfig) -> Result:
    model, tokenizer = start(config)
    rate = chosen_rate(run, config) if run.rate is None else run.rate
    seconds = teach(
        model,
        tokenizer,
        run.subject,
        seed=run.seed,
        steps=config.taught_steps,
        rows=config.taught_rows,
        learning_rate=rate,
    )
    arms = [arm for arm in ARMS if arm.way == run.subject]
    found = {arm.name: evaluate(model, tokenizer, arm, config, tuning=run.rate is not None) for arm in arms}
    model.save_pretrained(taught_folder(run, config))
    return {"rate": rate, "taught_seconds": round(seconds, 1), "evaluations": found}


def _grpo(run: Run, config: WidthConfig) -> Result:
    arm = next(each for each in ARMS if each.name == run.subject)
    taught = Run("taught", arm.way, run.seed)
    if run.rate is not None:
        taught = taught._replace(rate=chosen_rate(taught, config))
    model, tokenizer = _load(taught_folder(taught, config)), start(config)[1]
    rate = chosen_rate(run, config) if run.rate is None else run.rate
    questions = width.load(size=config.steps * config.prompts, seed=run.seed, split="train")
    loaded = Loaded(model, tokenizer, None)
    curve = train(loaded, questions, arm.settings, config, seed=run.seed, learning_rate=rate)
    greedy = [each for each in ARMS if each.greedy and each.way == arm.way and arm.settings.strategy == "one_token"]
    arms = [arm] if run.rate is not None else [arm, *greedy]
    found = {each.name: evaluate(model, tokenizer, each, config, tuning=run.rate is not None) for each in arms}
    return {"rate": rate, **curve, "evaluations": found}


def start(config: WidthConfig) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model that all ways are taught from; the first run makes it."""
    folder = Path(config.walker)
    if not (folder / "config.json").is_file():
        model, tokenizer = walker()
        tokenizer.save_pretrained(folder)
        model.save_pretrained(folder)
    return _load(folder), cast("PreTrainedTokenizerBase", AutoTokenizer.from_pretrained(folder))


def chosen_rate(run: Run, config: WidthConfig) -> float:
    """The rate tried out whose run has the best mean accuracy over its arms; the lower of two equal ones.

    Raises:
        ValueError: None has been tried out.
    """
    tried = {key: each for key, each in read(config.results).results.items() if "error" not in each}
    rates = config.taught_rates if run.stage == "taught" else config.rates
    scores = {
        rate: sum(sum(each["correct"]) for each in tried[key]["evaluations"].values())
        for rate in sorted(rates)
        if (key := run._replace(seed=TUNING_SEED, rate=rate).key) in tried
    }
    if not scores:
        raise ValueError(f"No learning rate of {run.name!r} has been tried out; do the runs with seed {TUNING_SEED}.")
    return max(scores, key=lambda rate: scores[rate])


def taught_folder(run: Run, config: WidthConfig) -> Path:
    """Where the model that a run taught is kept for GRPO, beside the results."""
    return Path(f"{config.results}.models") / f"{run.name}, seed {run.seed}"


def evaluate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    arm: Arm,
    config: WidthConfig,
    *,
    tuning: bool = False,
) -> Result:
    """Complete the held-out items; when tuning, as many others of the train split.

    Returns:
        `correct`, the number of correct completions of each item, out of `samples`; `votes`, whether the majority of
        them is right; the mean number of thinking steps, `thinking`; and `candidates`, the effective number mixed in
        a step.
    """
    seed, split = (ITEMS_SEED + 1, "train") if tuning else (ITEMS_SEED, "test")
    rows: list[Any] = list(width.load(size=config.items, seed=seed, split=split))
    found = complete(
        model,
        tokenizer,
        rows,
        arm.settings,
        samples=config.samples,
        greedy=arm.greedy,
        max_new_tokens=config.max_new_tokens,
    )
    return {
        "correct": [round(share * config.samples) for share in found.shares],
        "votes": [round(vote, 4) for vote in found.votes],
        "thinking": round(found.steps.float().mean().item(), 2),
        "candidates": round(found.candidates.nanmean().item(), 3),
    }


def _load(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
