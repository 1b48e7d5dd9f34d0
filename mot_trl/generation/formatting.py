"""A completion in print: each step of the thinking with its mixture, then the answer."""

from collections.abc import Iterator

from transformers import PreTrainedTokenizerBase

from mot_trl.generation.generate import Generation

SMALLEST = 0.005


def format_generation(generation: Generation, tokenizer: PreTrainedTokenizerBase, *, row: int = 0) -> str:
    """One completion as lines: a step of thinking a line, with the tokens it mixed and their weights, then the answer.

    A weight that would print as 0.00 is left out; `forced` marks what was put there to close the thinking.
    """
    return "\n".join(_lines(generation, tokenizer, row))


def _lines(generation: Generation, tokenizer: PreTrainedTokenizerBase, row: int) -> Iterator[str]:
    rollout = generation.rollout
    visible_ids = generation.completion_ids[row].tolist()
    thinking, forced = rollout.thinking_mask[row].tolist(), rollout.forced_mask[row].tolist()
    thought = max((step for step in range(len(visible_ids)) if thinking[step] or forced[step]), default=-1) + 1
    for step in range(thought):
        token = repr(tokenizer.decode(visible_ids[step]))
        mixed = "forced" if forced[step] else _mixture(generation, tokenizer, row, step)
        yield f"{step:5d}  {token:16s}  {mixed}".rstrip()
    if rollout.closed_by[row] < 0 and thought:
        yield "(The thinking was not closed.)"
    if rest := str(tokenizer.decode(visible_ids[thought:], skip_special_tokens=True)).strip():
        yield f"\n{rest}"
    if generation.answers[row] is not None:
        yield f"\nAnswer: {generation.answers[row]}"


def _mixture(generation: Generation, tokenizer: PreTrainedTokenizerBase, row: int, step: int) -> str:
    if not generation.rollout.mixture_mask[row, step]:
        return ""
    weights = generation.rollout.log_weights[row, step].exp()
    order = [slot for slot in weights.argsort(descending=True).tolist() if weights[slot] >= SMALLEST]
    candidate_ids = generation.rollout.candidate_ids[row, step].tolist()
    return "  ".join(f"{weights[slot]:.2f} {tokenizer.decode(candidate_ids[slot])!r}" for slot in order)
