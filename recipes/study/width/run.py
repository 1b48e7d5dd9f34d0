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
    tuning = run.stage == "tuning"
    rate = best_rate(run.subject, config) if run.rate is None else run.rate
    steps = config.tuning_steps if tuning else config.taught_steps
    seconds = teach(
        model, tokenizer, run.subject, seed=run.seed, steps=steps, rows=config.taught_rows, learning_rate=rate
    )
    arms = [arm for arm in ARMS if arm.way == run.subject]
    found = {arm.name: evaluate(model, tokenizer, arm, config, tuning=tuning) for arm in arms}
    if not tuning:
        model.save_pretrained(taught_folder(run.subject, run.seed, config))
    return {"rate": rate, "taught_seconds": round(seconds, 1), "evaluations": found}


def _grpo(run: Run, config: WidthConfig) -> Result:
    arm = next(each for each in ARMS if each.name == run.subject)
    model, tokenizer = _load(taught_folder(arm.way, run.seed, config)), start(config)[1]
    questions = width.load(size=config.steps * config.prompts, seed=run.seed, split="train")
    curve = train(
        Loaded(model, tokenizer, None),
        questions,
        arm.settings,
        config,
        seed=run.seed,
        learning_rate=config.learning_rate,
    )
    greedy = [each for each in ARMS if each.greedy and each.way == arm.way and arm.settings.strategy == "one_token"]
    return {**curve, "evaluations": {each.name: evaluate(model, tokenizer, each, config) for each in (arm, *greedy)}}


def start(config: WidthConfig) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model that all ways are taught from; the first run makes it."""
    folder = Path(config.walker)
    if not (folder / "config.json").is_file():
        model, tokenizer = walker()
        tokenizer.save_pretrained(folder)
        model.save_pretrained(folder)
    return _load(folder), cast("PreTrainedTokenizerBase", AutoTokenizer.from_pretrained(folder))


def best_rate(way: str, config: WidthConfig) -> float:
    """The rate whose tuning run has the best mean accuracy over the way's own arms; the lower of two equal ones."""
    results = read(config.results).results
    runs = {run["rate"]: run for (name, _), run in results.items() if name.startswith(f"tuning {way} ")}
    scores = {
        rate: sum(sum(each["correct"]) for each in run["evaluations"].values())
        for rate, run in sorted(runs.items())
        if "error" not in run
    }
    return max(scores, key=lambda rate: scores[rate])


def taught_folder(way: str, seed: int, config: WidthConfig) -> Path:
    """Where a taught model is kept for GRPO, beside the results."""
    return Path(f"{config.results}.models") / f"{way}-{seed}"


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
