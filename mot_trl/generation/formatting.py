"""Format a generation as text: the mixture of each thinking step, then the answer."""

from transformers import PreTrainedTokenizerBase

from mot_trl.generation.generate import Generation

# A smaller weight would print as 0.00.
MIN_WEIGHT = 0.005


def format_generation(generation: Generation, tokenizer: PreTrainedTokenizerBase, *, row: int = 0) -> str:
    """Format one completion: a line a thinking step, with the mixed tokens and their weights, then the answer.

    `forced` marks the tokens that a stop rule put there to close the thinking.
    """
    rollout, lines = generation.rollout, []
    visible_ids = generation.completion_ids[row].tolist()
    forced = rollout.forced_mask[row].tolist()
    thought = _thought_length(generation, row)
    for step in range(thought):
        token = repr(tokenizer.decode(visible_ids[step]))
        mixed = "forced" if forced[step] else _format_mixture(generation, tokenizer, row, step)
        lines.append(f"{step:5d}  {token:16s}  {mixed}".rstrip())
    if rollout.closed_by[row] < 0 and thought:
        lines.append("(The thinking was not closed.)")
    if rest := str(tokenizer.decode(visible_ids[thought:], skip_special_tokens=True)).strip():
        lines.append(f"\n{rest}")
    if generation.answers[row] is not None:
        lines.append(f"\nAnswer: {generation.answers[row]}")
    return "\n".join(lines)


def answer_text(generation: Generation, tokenizer: PreTrainedTokenizerBase, *, row: int = 0) -> str:
    """The marked answer of one completion, else the text after its thinking; empty if that was never closed."""
    answer = generation.answers[row]
    if answer is not None or generation.rollout.closed_by[row] < 0:
        return answer or ""
    rest = generation.completion_ids[row][_thought_length(generation, row) :]
    return str(tokenizer.decode(rest, skip_special_tokens=True)).strip()


def _thought_length(generation: Generation, row: int) -> int:
    # With a start text the thinking may begin late: everything up to its end belongs to it.
    steps = (generation.rollout.thinking_mask[row] | generation.rollout.forced_mask[row]).nonzero()
    return int(steps.max()) + 1 if len(steps) else 0


def _format_mixture(generation: Generation, tokenizer: PreTrainedTokenizerBase, row: int, step: int) -> str:
    if not generation.rollout.mixture_mask[row, step]:
        return ""
    weights = generation.rollout.log_weights[row, step].exp()
    order = [index for index in weights.argsort(descending=True).tolist() if weights[index] >= MIN_WEIGHT]
    candidate_ids = generation.rollout.candidate_ids[row, step].tolist()
    return "  ".join(f"{weights[index]:.2f} {tokenizer.decode(candidate_ids[index])!r}" for index in order)
