"""Memory of a run in bytes per GPU, from a model's shape: what is held, what the phases add, and what batch fits."""

from dataclasses import dataclass, replace
from typing import NamedTuple

from mot_trl.modeling.shape import ModelShape

GIB = 1 << 30
OVERHEAD = GIB
"""CUDA's context and libraries: an estimate."""

FRAGMENTED = 1.1
"""What the allocator reserves over what is used: an estimate."""

NF4 = 0.5 + 4 / 64
"""Bytes of a 4-bit weight, with a float32 scale for each block of 64 (QLoRA, arXiv 2305.14314)."""

RECORD_FIXED = 7
"""Bytes of a position's record without candidates: three masks and a float32 log-probability."""

MAX_BATCH = 16
"""Rows of a batch beyond which a GPU computes no faster at the lengths of reasoning: a rule of thumb."""

TILE = (4096, 32768)
"""Tokens and vocabulary of the logits that TRL's fused head holds at a time."""


@dataclass(frozen=True)
class Run:
    """Settings of a run that its memory depends on, under TRL's names where it has them.

    Attributes:
        method: `full`, `lora` or `qlora`.
        sharding: `ddp`, `fsdp2` or `zero3`.
        gpus: Number of GPUs; the batch below is that of one of them.
        memory: GiB of one GPU.
        vllm_share: Share of a GPU that a colocated vLLM takes; 0 without.
        weight_bytes: Bytes of a weight that is trained in full, or of a frozen one: 4 for float32, 2 for bfloat16.
        prompt_length: Tokens of the longest prompt.
    """

    method: str = "full"
    sharding: str = "ddp"
    gpus: int = 1
    memory: float = 80.0
    vllm_share: float = 0.0
    weight_bytes: int = 4
    beta: float = 0.0
    mixture_k: int = 2
    gradient_checkpointing: bool = True
    num_generations: int = 8
    per_device_train_batch_size: int = 8
    gradient_accumulation_steps: int = 8
    prompt_length: int = 256
    max_completion_length: int = 1024

    @property
    def rows(self) -> int:
        """Completions that one GPU generates at a time: all those of a step."""
        return self.per_device_train_batch_size * self.gradient_accumulation_steps

    @property
    def length(self) -> int:
        """Tokens of the longest sequence."""
        return self.prompt_length + self.max_completion_length


class Memory(NamedTuple):
    """Bytes by what they hold: `held` throughout, and in addition those of `rollout` and of `training`, in turns."""

    held: dict[str, float]
    rollout: dict[str, float]
    training: dict[str, float]

    @property
    def peak(self) -> float:
        """What is held, and the larger of the phases, with the allocator's share; vLLM allocates for itself."""
        own = sum(self.held.values()) - self.held["vLLM"] - self.held["CUDA"]
        phases = max(sum(self.rollout.values()), sum(self.training.values()))
        return FRAGMENTED * (own + phases) + self.held["vLLM"] + self.held["CUDA"]


def memory_of(shape: ModelShape, run: Run) -> Memory:
    """Count the bytes of one GPU."""
    whole, weights = _weights(shape, run), _weights(shape, run) / _shards(run)
    trained = (shape.parameters if run.method == "full" else shape.adapter) / _shards(run)
    trained_bytes = run.weight_bytes if run.method == "full" else 4
    held = {
        "weights": weights,
        "adapter": 0.0 if run.method == "full" else trained * trained_bytes,
        "AdamW": 2 * trained * trained_bytes,
        # Under LoRA the reference is the model without its adapter.
        "reference": weights if run.beta and run.method == "full" else 0.0,
        "record": run.rows * run.max_completion_length * (RECORD_FIXED + 8 * run.mixture_k),
        "vLLM": run.vllm_share * run.memory * GIB,
        "CUDA": OVERHEAD,
    }
    rollout = {
        "key-value cache": run.rows * shape.cached(run.length) * run.weight_bytes,
        # Logits, their float32 scores, log-probabilities, and a strategy's probabilities.
        "logits": run.rows * shape.vocabulary * 4 * 4,
        # ZeRO-3 gathers the model for the rollout (`ds3_gather_for_generation`), FSDP2 a layer at a time.
        "gathered": whole if run.sharding == "zero3" else _gathered(shape, run),
    }
    tokens = run.per_device_train_batch_size * run.length
    training = {
        # DDP reduces gradients in buckets, which are a copy of them.
        "gradients": trained * trained_bytes * (2 if run.gpus > 1 and run.sharding == "ddp" else 1),
        "activations": tokens * _activations(shape, run),
        # The fused head's tile of logits, as computed, in float32, and its gradient.
        "logits": min(tokens, TILE[0]) * min(shape.vocabulary, TILE[1]) * (run.weight_bytes + 4 + 4),
        # The fused head sums its own gradient in float32, and hands it over at the end.
        "head's gradient": shape.vocabulary * shape.hidden * 4 if run.method == "full" else 0.0,
        # Autocast keeps half-precision copies of float32 weights for the length of a forward pass.
        "bfloat16 copies": shape.linear * 2 if run.weight_bytes == 4 and _shards(run) == 1 else 0.0,
        "gathered": _gathered(shape, run),
    }
    return Memory(held, dict.fromkeys(rollout, 0.0) if run.vllm_share else rollout, training)


def choose_batch(shape: ModelShape, run: Run, *, completions: int) -> Run:
    """The largest batch that fits, for a step of at least so many completions over all GPUs.

    Where not even single rows fit, the step shrinks, down to one group; the answer is then the smallest, fit or not.
    """
    groups = -(-completions // run.num_generations)
    while True:
        # TRL wants whole groups over all GPUs, and equal shares of them.
        rows = groups * run.num_generations
        while rows % run.gpus:
            rows += run.num_generations
        share = rows // run.gpus
        for batch in sorted((size for size in range(1, share + 1) if share % size == 0), reverse=True):
            tried = replace(run, per_device_train_batch_size=batch, gradient_accumulation_steps=share // batch)
            if batch <= MAX_BATCH and fits(shape, tried):
                return tried
        if groups == 1:
            return tried
        groups //= 2


def fits(shape: ModelShape, run: Run) -> bool:
    """Whether the peak is within the GPU's memory."""
    return memory_of(shape, run).peak <= run.memory * GIB


def _shards(run: Run) -> int:
    return 1 if run.sharding == "ddp" else run.gpus


def _weights(shape: ModelShape, run: Run) -> float:
    quantized = shape.linear if run.method == "qlora" else 0
    return quantized * NF4 + (shape.parameters - quantized) * run.weight_bytes


def _gathered(shape: ModelShape, run: Run) -> float:
    # The next one is fetched while one computes.
    return 2 * shape.largest * run.weight_bytes if _shards(run) > 1 else 0.0


def _activations(shape: ModelShape, run: Run) -> int:
    """Bytes per token: each layer's, or each one's input and those of the layer that is computed again."""
    residual = shape.hidden * run.weight_bytes
    if run.gradient_checkpointing:
        return shape.layers * residual + 2 * shape.kept
    return shape.layers * 2 * shape.kept
