"""Make nano-soft from nothing, a model that thinks in mixtures where width beats depth, or its twin in tokens.

    OMP_NUM_THREADS=1 python -m recipes.nano.soft                    # overwrites mot_trl/tasks/nano/soft_weights
    OMP_NUM_THREADS=1 python -m recipes.nano.soft --way path         # overwrites mot_trl/tasks/nano/path_weights
    OMP_NUM_THREADS=1 python -m recipes.nano.soft outputs/nano-soft  # writes to another folder

Run it from the repository root, on one core. A machine reproduces its own weights bit for bit.
"""

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from transformers import (
    AutoModelForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    get_linear_schedule_with_warmup,
)

from mot_trl import MoTSFTConfig, MoTSFTTrainer
from mot_trl.generation.config import DecoderConfig
from mot_trl.tasks import width
from mot_trl.tasks.nano.model import NANO_PATH, NANO_SOFT
from recipes.nano import model_card
from recipes.nano.evaluation import complete, of_family
from recipes.nano.model import new_nano_soft, puzzle_tokenizer
from recipes.nano.pretraining import Together, optimizers, pretrain
from recipes.nano.walks import lookups, walks

LOOKUP_STEPS, WALK_STEPS = 330, 800
TAUGHT_STEPS, TAUGHT_ROWS, LEARNING_RATE = 1_200, 32, 3e-3
HELD_OUT, SAMPLES = 384, 4
CHANCE = {"reach": 1 / 4, "least": 1 / 3, "graph": 1 / 2}

DECODER = DecoderConfig("top_k", {"k": 8, "min_prob": 0.02}, mixture_score="visible", max_mixture_tokens=3)
"""How nano-soft thinks: the likeliest tokens, weighted as the model does, for as many steps as the puzzles need."""

TOKENS = DecoderConfig("one_token", max_mixture_tokens=3)
"""How its twin thinks."""


class Kind(NamedTuple):
    """An embedded model: the text of its card, how it thinks, and where it is kept."""

    name: str
    thinks: str
    loader: str
    decoder: DecoderConfig
    folder: Path
    command: str


COMMAND = "OMP_NUM_THREADS=1 python -m recipes.nano.soft"
KINDS = {
    "superposed": Kind(
        "nano-soft",
        "in mixtures of tokens: each of three steps mixes all that can be reached by then, and only the answer is\n"
        "one of them",
        "load_nano_soft",
        DECODER,
        NANO_SOFT,
        COMMAND,
    ),
    "path": Kind(
        "nano-path",
        "in ordinary tokens: each of three steps is on the way to the answer. It is the twin of nano-soft, made in\n"
        "the same way from the same puzzles",
        "load_nano_path",
        TOKENS,
        NANO_PATH,
        f"{COMMAND} --way path",
    ),
}
"""By the way to think that they are taught."""


def main(
    folder: Path | None = None, start: Path | None = None, way: str = "superposed", *, steps: int = TAUGHT_STEPS
) -> None:
    """Train, evaluate on held-out questions, and write the checkpoint with its model card."""
    begun, kind = time.process_time(), KINDS[way]
    model, tokenizer = walker() if start is None else (load_walker(start), puzzle_tokenizer())
    teach(model, tokenizer, way, seed=0, steps=steps, rows=TAUGHT_ROWS, learning_rate=LEARNING_RATE)
    cpu_minutes = (time.process_time() - begun) / 60
    # Evaluate the rounded weights, which are those that ship.
    write(model.bfloat16().float(), tokenizer, kind, folder or kind.folder, steps=steps, cpu_minutes=cpu_minutes)


def write(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    kind: Kind,
    folder: Path,
    *,
    steps: int,
    cpu_minutes: float,
) -> None:
    """Evaluate the model, and write its checkpoint."""
    model_card.save_with_card(
        model,
        tokenizer,
        folder,
        model_card.SOFT_CARD,
        max_new_tokens=16,
        mixture=kind.decoder.to_dict(),
        name=kind.name,
        thinks=kind.thinks,
        loader=kind.loader,
        command=kind.command,
        cpu_minutes=cpu_minutes,
        demonstrations=steps * TAUGHT_ROWS,
        rows=HELD_OUT,
        figures="\n".join(figures(model, tokenizer)),
    )


def walker(seed: int = 0) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A new model that follows any edge, or adds any number, in ordinary tokens: what all ways to think start from."""
    torch.manual_seed(seed)
    model, tokenizer = new_nano_soft()
    pretrain(model, lookups(tokenizer, batch_size=64, seed=seed), steps=LOOKUP_STEPS, learning_rate=4e-3)
    pretrain(model, walks(tokenizer, batch_size=64, seed=seed), steps=WALK_STEPS, learning_rate=4e-3)
    return model, tokenizer


def load_walker(folder: Path) -> PreTrainedModel:
    """The walker that an earlier run has saved."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def teach(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    way: str,
    *,
    seed: int,
    steps: int,
    rows: int,
    learning_rate: float,
) -> float:
    """Teach a way to think in place, on `rows` demonstrations a step; return the processor seconds of its training."""
    demonstrations = width.demonstrations(tokenizer, way, size=steps * rows, seed=seed)
    with TemporaryDirectory() as folder:
        arguments = MoTSFTConfig(
            folder,
            max_steps=steps,
            per_device_train_batch_size=rows,
            seed=seed,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            save_strategy="no",
            logging_steps=max(1, steps // 10),
            report_to=[],
            disable_tqdm=True,
        )
        optimizer = Together(optimizers(model, learning_rate))
        schedule = get_linear_schedule_with_warmup(optimizer, min(20, steps // 4), steps)
        trainer = MoTSFTTrainer(
            model,
            arguments,
            train_dataset=demonstrations,
            processing_class=tokenizer,
            optimizers=(optimizer, schedule),
        )
        start = time.process_time()
        trainer.train()
    return time.process_time() - start


def figures(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The rows of the card's table."""
    rows: list[Any] = list(width.load(size=HELD_OUT, split="test"))
    mixed, sampled, likeliest = (
        complete(model, tokenizer, rows, decoder, samples=SAMPLES, greedy=greedy)
        for decoder, greedy in ((DECODER, False), (TOKENS, False), (TOKENS, True))
    )
    lines = []
    for name, chance in CHANCE.items():
        found = [of_family(each.shares, rows, name) for each in (mixed, sampled, likeliest)]
        own = torch.tensor([row["task"] == name for row in rows]).repeat_interleave(SAMPLES)
        candidates = mixed.candidates[own, : DECODER.max_mixture_tokens].nanmean(dim=0).tolist()
        cells = [f"{value.mean:.2f} ({value.low:.2f} to {value.high:.2f})" for value in found]
        lines.append(f"| {name} | {chance:.2f} | {' | '.join(cells)} | {', '.join(f'{n:.1f}' for n in candidates)} |")
    return lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make the embedded model that thinks in mixtures from nothing.")
    parser.add_argument("folder", type=Path, nargs="?", help="where to (default: over the shipped one)")
    parser.add_argument("--way", choices=list(KINDS), default="superposed", help="how to think")
    parser.add_argument("--start", type=Path, help="folder of a walker that an earlier study has made")
    main(**vars(parser.parse_args()))
