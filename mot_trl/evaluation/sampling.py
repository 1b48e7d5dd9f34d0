"""Sample and grade one arm of an evaluation, reproducibly: interruptions and process counts change no sample."""

import asyncio
import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from accelerate import PartialState
from transformers.utils.logging import tqdm

from mot_trl.evaluation.records import Records, Sample
from mot_trl.generation.config import DecoderConfig
from mot_trl.generation.generate import Engine, Generation, generate
from mot_trl.modeling.loading import Loaded
from mot_trl.rewards.signature import check_reward

Rows = Sequence[Mapping[str, Any]]
"""Dataset rows, each with a `prompt` and the columns that the reward function asks for."""

Reward = Callable[..., Any]
"""A reward function as TRL calls it: scores, or an awaitable of them. A score of at least 1 means correct."""

# TRL passes these under names of its own, so columns of the same name are left out.
RESERVED = ("prompt", "prompts", "completion", "completions", "completion_ids")


@dataclass(frozen=True)
class Plan:
    """How many samples to draw per item, and how.

    Attributes:
        batch_size: Completions decoded together. It decides the samples too, since a batch shares its random numbers.
        generation_kwargs: As for transformers' `generate`: `max_new_tokens`, `temperature` ...

    Raises:
        ValueError: A count is below 1, or nothing bounds the length.
    """

    samples: int = 1
    batch_size: int = 16
    seed: int = 0
    generation_kwargs: dict[str, Any] = field(default_factory=lambda: {"max_new_tokens": 512})

    def __post_init__(self) -> None:
        """Check the counts and the length limit."""
        for name in ("samples", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` is a count, so it must be at least 1, not {getattr(self, name)}.")
        if not self.generation_kwargs.get("max_new_tokens"):
            raise ValueError("Set `max_new_tokens`: a completion needs a maximum length.")


def sample_arm(
    loaded: Loaded,
    rows: Rows,
    reward: Reward,
    decoder: DecoderConfig,
    *,
    plan: Plan,
    records: Records,
    progress: bool = True,
    engine: Engine | None = None,
) -> list[Sample]:
    """Complete and grade every row `plan.samples` times, except for samples that `records` already holds.

    Without an engine, the model in `loaded` generates. Under `accelerate launch`, each process takes its share of the
    batches, and all return all samples.
    """
    state, built = PartialState(), decoder.build(loaded.tokenizer)
    # Saving the random state of all devices, the default, would start CUDA on every GPU of the machine.
    devices = [loaded.model.device] if loaded.model.device.type == "cuda" else []
    done = {(sample.item, sample.sample) for sample in records.read()}
    # An item's samples stay together: equal prompts in a batch share one prefill. Longest prompts come first.
    order = sorted(range(len(rows)), key=lambda item: -len(str(rows[item]["prompt"])))
    pairs = [(item, sample) for item in order for sample in range(plan.samples)]
    batches = [pairs[start : start + plan.batch_size] for start in range(0, len(pairs), plan.batch_size)]
    # Batches are cut from all samples and seeded by their index, so that an interruption changes no sample. Each
    # process's share is cut likewise, before finished batches are dropped: another process may have added samples
    # since `done` was read, and shares that depend on it would overlap or leave gaps.
    own = list(enumerate(batches))[state.process_index :: state.num_processes]
    left = [(number, batch) for number, batch in own if not done.issuperset(batch)]
    for number, batch in tqdm(left, desc=decoder.strategy, unit="batch", disable=not progress):
        # Hashed: seeds that differ by one would give batch 1 of seed 0 and batch 0 of seed 1 the same numbers.
        digest = hashlib.sha256(f"{plan.seed}/{number}".encode()).digest()
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(int.from_bytes(digest[:7], "big"))
            prompts = [rows[item]["prompt"] for item, _ in batch]
            generation = generate(
                loaded.model,
                loaded.tokenizer,
                prompts,
                strategy=built.strategy,
                phases=built.phases,
                engine=engine,
                **plan.generation_kwargs,
            )
        samples = _grade(generation, batch, rows, reward, loaded=loaded)
        # A batch that was cut off by a kill is sampled as a whole, and gives the stored samples once more.
        records.append(each for each in samples if each[:2] not in done)
    # Sort once every process has appended its last batch, and read only what has been sorted.
    state.wait_for_everyone()
    if state.is_main_process:
        records.finish()
    state.wait_for_everyone()
    return records.read()


def settings_of(loaded: Loaded, rows: Rows, decoder: DecoderConfig, plan: Plan) -> dict[str, Any]:
    """What an arm's samples depend on besides the weights, as plain data: prompts, decoder and plan."""
    prompts = repr([row["prompt"] for row in rows]) + str(loaded.tokenizer.chat_template)
    digest = hashlib.sha256(prompts.encode()).hexdigest()[:16]
    return {"decoder": decoder.to_dict(), **asdict(plan), "rows": len(rows), "prompts": digest}


def _grade(
    generation: Generation, batch: list[tuple[int, int]], rows: Rows, reward: Reward, *, loaded: Loaded
) -> list[Sample]:
    config: Any = loaded.model.generation_config
    eos = config.eos_token_id if config.eos_token_id is not None else loaded.tokenizer.eos_token_id
    # The pad token may be an end token too, so only the first one counts.
    ids = generation.completion_ids
    ends = torch.isin(ids, torch.tensor([] if eos is None else eos, device=ids.device))
    ended = ends.any(dim=-1)
    lengths = torch.where(ended, ends.int().argmax(dim=-1) + 1, ids.size(1)).tolist()
    trimmed = [row[:length] for row, length in zip(ids.tolist(), lengths, strict=True)]
    columns = (
        call_reward(reward, generation.texts, [rows[item] for item, _ in batch], trimmed),
        generation.answers,
        lengths,
        generation.rollout.thinking_mask.sum(dim=-1).tolist(),
        (generation.rollout.closed_by >= 0).tolist(),
        ended.tolist(),
        generation.texts,
    )
    return [Sample(*key, *values) for key, *values in zip(batch, *columns, strict=True)]


def call_reward(reward: Reward, texts: list[str], rows: Rows, completion_ids: list[list[int]]) -> list[float | None]:
    """Score completions of rows with a reward function, called as TRL calls it; None where it could not judge."""
    check_reward(reward, list(rows[0]))
    prompts = [row["prompt"] for row in rows]
    completions = [
        text if isinstance(prompt, str) else [{"role": "assistant", "content": text}]
        for prompt, text in zip(prompts, texts, strict=True)
    ]
    columns = {name: [row[name] for row in rows] for name in rows[0] if name not in RESERVED}
    scores = reward(prompts=prompts, completions=completions, completion_ids=completion_ids, **columns)
    if inspect.isawaitable(scores):
        # Not `asyncio.run`, which takes coroutines only: a reward may return any awaitable.
        with asyncio.Runner() as runner:
            scores = runner.get_loop().run_until_complete(scores)
    return [None if score is None else float(score) for score in scores]
