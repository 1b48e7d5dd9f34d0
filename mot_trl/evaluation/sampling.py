"""Sampling and grading one arm of an evaluation: the same batches and seeds in every run, whatever was done before."""

import asyncio
import hashlib
import inspect
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from accelerate import PartialState
from jaxtyping import Int
from torch import Tensor
from transformers.utils.logging import tqdm

from mot_trl.evaluation.records import Records, Sample
from mot_trl.generation.batching import by_length
from mot_trl.generation.config import DecoderConfig
from mot_trl.generation.generate import Generation, generate
from mot_trl.modeling.checkpoints import Loaded

Reward = Callable[..., Any]

# Columns of a data set that TRL's calling convention has names of its own for.
RESERVED = ("prompt", "prompts", "completion", "completions", "completion_ids")


@dataclass(frozen=True)
class Plan:
    """How many samples are drawn, and how.

    Attributes:
        samples: Completions of each item.
        batch_size: Completions decoded together. Part of what the samples depend on, as a batch shares its randomness.
        seed: Together with a batch's place it seeds the batch.
        generation_kwargs: As for transformers' `generate`: `max_new_tokens`, `temperature` ...

    Raises:
        ValueError: A count is below 1, or nothing bounds the length.
    """

    samples: int = 1
    batch_size: int = 16
    seed: int = 0
    generation_kwargs: dict[str, Any] = field(default_factory=lambda: {"max_new_tokens": 512})

    def __post_init__(self) -> None:
        """Refuse what samples nothing."""
        for name in ("samples", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` is a count, so it must be at least 1, not {getattr(self, name)}.")
        if not self.generation_kwargs.get("max_new_tokens"):
            raise ValueError("Set `max_new_tokens`: a completion needs a maximum length.")


def sample_arm(
    loaded: Loaded,
    rows: Sequence[Mapping[str, Any]],
    reward: Reward,
    decoder: DecoderConfig,
    *,
    plan: Plan,
    records: Records,
    progress: bool = True,
) -> list[Sample]:
    """Complete and grade every row `plan.samples` times, but for what `records` already holds.

    Batches are cut from all completions, the longest prompts first, and seeded by their place, so that neither an
    interruption nor the number of processes changes a sample. Under `accelerate launch`, each process takes its share
    of the batches, and all return all samples.

    Args:
        loaded: Model and tokenizer.
        rows: Each with a `prompt`, and the columns that the reward asks for.
        reward: A reward in TRL's form, plain or async. A sample is correct where it is at least 1.
        decoder: Strategy and phases.
        plan: How many, how.
        records: Where the samples are kept.
        progress: Show a progress bar on the main process.
    """
    state = PartialState()
    built = decoder.build(loaded.tokenizer)
    done = {(sample.item, sample.sample) for sample in records.read()}
    # Each process's share is cut from all batches, as another may have added samples since these were read.
    own = list(enumerate(_batches(rows, plan)))[state.process_index :: state.num_processes]
    left = [(number, batch) for number, batch in own if not done.issuperset(batch)]
    for number, batch in tqdm(left, desc=decoder.strategy, unit="batch", disable=not progress):
        with _seeded(plan.seed, number, loaded.model.device):
            generation = generate(
                loaded.model,
                loaded.tokenizer,
                [rows[item]["prompt"] for item, _ in batch],
                strategy=built.strategy,
                phases=built.phases,
                **plan.generation_kwargs,
            )
        samples = _grade(generation, batch, rows, reward, eos_ids=_eos_ids(loaded))
        records.append([each for each in samples if each[:2] not in done], process=state.process_index)
    state.wait_for_everyone()
    if state.is_main_process:
        records.finish()
    state.wait_for_everyone()
    return records.read()


def settings_of(loaded: Loaded, rows: Sequence[Mapping[str, Any]], decoder: DecoderConfig, plan: Plan) -> dict:
    """Prompts, decoder and plan, as plain data: what the samples of an arm depend on, beside the weights."""
    prompts = repr([row["prompt"] for row in rows]) + str(loaded.tokenizer.chat_template)
    digest = hashlib.sha256(prompts.encode()).hexdigest()[:16]
    return {"decoder": decoder.to_dict(), **asdict(plan), "rows": len(rows), "prompts": digest}


def _batches(rows: Sequence[Mapping[str, Any]], plan: Plan) -> list[list[tuple[int, int]]]:
    """All (item, sample) pairs, an item's side by side: equal prompts in a batch are read once."""
    order = [item for batch in by_length([len(str(row["prompt"])) for row in rows], 1) for item in batch]
    pairs = [(item, sample) for item in order for sample in range(plan.samples)]
    return [pairs[start : start + plan.batch_size] for start in range(0, len(pairs), plan.batch_size)]


@contextmanager
def _seeded(seed: int, number: int, device: torch.device) -> Generator[None]:
    """Random numbers of a batch's own, leaving the caller's as they were."""
    digest = hashlib.sha256(f"{seed}/{number}".encode()).digest()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int.from_bytes(digest[:7], "big"))
        yield


def _grade(
    generation: Generation,
    batch: list[tuple[int, int]],
    rows: Sequence[Mapping[str, Any]],
    reward: Reward,
    *,
    eos_ids: set[int],
) -> list[Sample]:
    own_rows = [rows[item] for item, _ in batch]
    columns = {name: [row[name] for row in own_rows] for name in own_rows[0] if name not in RESERVED}
    prompts = [row["prompt"] for row in own_rows]
    lengths, ended = _lengths(generation.completion_ids, eos_ids)
    completions = [
        text if isinstance(prompt, str) else [{"role": "assistant", "content": text}]
        for prompt, text in zip(prompts, generation.texts, strict=True)
    ]
    ids = [row[:length] for row, length in zip(generation.completion_ids.tolist(), lengths, strict=True)]
    scores = reward(prompts=prompts, completions=completions, completion_ids=ids, **columns)
    if inspect.isawaitable(scores):
        scores = asyncio.run(_await(scores))
    rollout = generation.rollout
    per_row = zip(
        batch,
        scores,
        generation.answers,
        lengths,
        rollout.thinking_mask.sum(dim=-1).tolist(),
        (rollout.closed_by >= 0).tolist(),
        ended,
        generation.texts,
        strict=True,
    )
    return [
        Sample(item, sample, None if score is None else float(score), *rest)
        for (item, sample), score, *rest in per_row
    ]


async def _await(scores: Awaitable[Any]) -> Any:
    return await scores


def _lengths(completion_ids: Int[Tensor, "B C"], eos_ids: set[int]) -> tuple[list[int], list[bool]]:
    """Tokens up to the one that ends each completion, and whether there is one."""
    ends = torch.isin(completion_ids, torch.tensor(sorted(eos_ids), device=completion_ids.device))
    ended = ends.any(dim=-1)
    first = ends.int().argmax(dim=-1) + 1
    return torch.where(ended, first, completion_ids.size(1)).tolist(), ended.tolist()


def _eos_ids(loaded: Loaded) -> set[int]:
    config: Any = loaded.model.generation_config
    given = config.eos_token_id if config.eos_token_id is not None else loaded.tokenizer.eos_token_id
    return {given} if isinstance(given, int) else set(given or ())
