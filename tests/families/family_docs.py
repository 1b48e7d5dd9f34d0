"""Test every model family and write docs/models.md: `python tests/families/family_docs.py`."""

import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import transformers  # noqa: E402
import trl  # noqa: E402
import vision_table  # noqa: E402
from conftest import make_tokenizer  # noqa: E402
from family_laws import (  # noqa: E402
    TOLERANCE,
    add_heads,
    decode,
    gap_to_alone,
    gap_to_full_logits,
    gap_to_generation,
    prompts,
    share_of_weights_moved,
    takes_fast_path,
    tokens_lost_to_padding,
)
from family_table import FAMILIES, NO_ROUTER_LOSS, REFUSED, SIZES, build  # noqa: E402

WORKERS = 3
PAGE = ROOT / "docs" / "models.md"
REMARKS = {
    "axk2": "Sequences up to its `index_topk`; beyond, transformers' passes with and without a cache differ.",
    "deepseek_v32": "Sequences up to its `index_topk`; beyond, transformers' passes with and without a cache differ.",
    "gemma3n_text": "Its per-layer embedding tables are blended like the first one.",
    "gemma4_text": "Its per-layer embedding tables are blended like the first one.",
    "glm_moe_dsa": "Sequences up to its `index_topk`; beyond, transformers' passes with and without a cache differ.",
    "gpt2": "Learned positions are counted as in generation, without padding.",
    "nemotron_h": "Without kernels, transformers' single step does not clamp at `time_step_min`: gaps up to 1e-3.",
    "zamba2": "Without kernels, transformers' single step does not clamp at `time_step_min`: gaps up to 1e-3.",
}
HEAD = f"""# Models

Mixtures enter at the embedding module, so most decoders work unchanged. Each family below was tested as a tiny random
model. A row generates the same tokens alone and in a padded batch. Replayed log-probabilities equal those of
generation, and candidates' log-probabilities and gradients equal those of a full softmax, within
{TOLERANCE:.0e} nats in float32. A training step changes the weights.
Generated with transformers {transformers.__version__} and TRL {trl.__version__}.

`python tests/families/family_docs.py` generates this page; `pytest tests/families` tests the same.

"""

NOTES = """## In one process

- **Training mode.** Generation, however it is asked for, runs in evaluation mode, without dropout and with its cache
  under gradient checkpointing; each module then returns to its own mode. Rollouts, too, come from the model without
  dropout, where TRL's have it.
- **Threads.** Several threads may generate with one model, and replay on it, at once: each is fed its own mixtures,
  and a decoder keeps each thread's own record. Only a switch to training mode while a thread generates is refused.
- **Copies.** A `deepcopy` of a trained model computes with its own weights, mixtures and all.
- **Several devices.** A model that `device_map="auto"` spreads over GPUs generates and trains. One with weights
  offloaded to main memory or disk generates, and is refused in training. The tests have accelerate's hooks on a CPU
  alone.
- **Shared prompts.** With dropout in training (an adapter's `lora_dropout`, too), or beyond the original length of
  `dynamic` and `longrope` positions, each row reads its own prompt, as in TRL, and there is one warning.
- **Memory.** Looking mixtures up takes at most 2.5 times the memory of their visible tokens, for any number of
  candidates (`benchmarks/README.md`), where the table and what follows it are linear: plain and scaled tables, LoRA,
  trainable tokens and `modules_to_save`. Other modules, and `elementwise_max`, are looked up in parts.
"""


def text_row(family: str) -> str:
    """Try a text model."""
    vocabulary = SIZES["vocab_size"]
    model = add_heads(build(family))
    lost = tokens_lost_to_padding(model, vocabulary)
    batch = decode(model, *prompts(vocabulary))
    gaps = [gap_to_generation(model, batch), gap_to_alone(model, batch), *gap_to_full_logits(model, batch.alone(0))]
    fast = takes_fast_path(model, vocabulary)
    with tempfile.TemporaryDirectory() as folder:
        moved, gap = share_of_weights_moved(
            build(family), make_tokenizer(), Path(folder), router_loss=family not in NO_ROUTER_LOSS
        )
    kept = lost == 0 and max(*gaps, gap) < TOLERANCE and moved > 0
    path = "works" if fast else "works, plain cache path"
    remarks = [REMARKS.get(family, ""), "Set `router_aux_loss_coef=0.0`." if family in NO_ROUTER_LOSS else ""]
    return row(type(model).__name__, family, path if kept else "**fails**", max(gaps), " ".join(remarks))


def vision_row(family: str) -> str:
    """Try a vision-language model with an image in each prompt."""
    model = add_heads(vision_table.build(family))
    ids, mask = vision_table.prompts(family)
    images = vision_table.FAMILIES[family].inputs(ids)
    batch = decode(model, ids, mask, **images)
    inputs = vision_table.for_replay(images, batch.completion_ids.size(1))
    gaps = [gap_to_generation(model, batch, **inputs), *gap_to_full_logits(model, batch, **inputs)]
    outcome = "works, plain cache path" if max(gaps) < TOLERANCE else "**fails**"
    return row(type(model).__name__, family, outcome, max(gaps), "Images in the prompt.")


def refused_row(family: str) -> str:
    """The sentence with which the trainer refuses the family."""
    model = build(family)
    try:
        with tempfile.TemporaryDirectory() as folder:
            share_of_weights_moved(model, make_tokenizer(), Path(folder))
    except ValueError as error:
        return f"| `{type(model).__name__}` | `{family}` | {error} |"
    return f"| `{type(model).__name__}` | `{family}` | **not refused** |"


def row(name: str, family: str, outcome: str, gap: float, remark: str) -> str:
    """A line of the table."""
    return f"| `{name}` | `{family}` | {outcome} | {gap:.0e} | {remark.strip()} |"


def page(pool: Executor) -> Iterator[str]:
    """The page, line by line."""
    yield HEAD
    yield "| model | `model_type` | outcome | largest gap | remarks |\n| --- | --- | --- | --- | --- |"
    yield from pool.map(text_row, FAMILIES)
    yield from pool.map(vision_row, vision_table.FAMILIES)
    yield "\nOn the plain cache path, finished rows stay in the batch until the end, and each row reads its prompt.\n"
    yield NOTES
    yield "## Refused\n\n| model | `model_type` | what the trainer says |\n| --- | --- | --- |"
    yield from pool.map(refused_row, REFUSED)


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    with ProcessPoolExecutor(WORKERS) as pool:
        PAGE.write_text("\n".join(page(pool)) + "\n")
