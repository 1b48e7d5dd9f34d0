"""Feed a model blends of its own predictions in supervised fine-tuning, so that it learns to read mixtures."""

from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mot_trl.generation.phases import Phases
from mot_trl.modeling.rollout import Rollout
from mot_trl.strategies import Strategy
from mot_trl.trainer.thoughts import EXPOSED, completion_start


def mark_thinking(rows: dict[str, list[Any]], *, phases: Phases) -> dict[str, list[Any]]:
    """Mark the inputs of tokenized rows that are thoughts, all but the token that completes the closing tag.

    A completion without that tag has no thoughts, and a span of thinking that is still open at the end is none.
    """
    starts = [completion_start(labels) for labels in rows["labels"]]
    completions = [ids[start:] for ids, start in zip(rows["input_ids"], starts, strict=True)]
    masks = _thinking_masks(phases, completions)
    marked = [
        ids[:start] + [token + EXPOSED * thinking for token, thinking in zip(ids[start:], mask, strict=False)]
        for ids, start, mask in zip(rows["input_ids"], starts, masks, strict=True)
    ]
    return {"input_ids": marked}


def _thinking_masks(phases: Phases, completions: list[list[int]]) -> list[list[bool]]:
    # All rows advance together, a column of tokens at a time, by the same rules as in generation.
    ids = pad_sequence([torch.tensor(each, dtype=torch.long) for each in completions], batch_first=True)
    state = phases.begin(len(ids), ids.device)
    no_logps, running = torch.empty(len(ids), 0), torch.zeros(len(ids), dtype=torch.bool)
    masks, begun = torch.zeros(ids.shape, dtype=torch.bool), torch.zeros(len(ids), dtype=torch.long)
    for column, tokens in enumerate(ids.unbind(dim=1)):
        before = state.thinking
        state = phases.advance(state, tokens, no_logps, running)
        masks[:, column] = before & state.thinking
        begun = torch.where(state.thinking & ~before, column, begun)
    is_ended = (state.closed_by >= 0).unsqueeze(-1) | (torch.arange(ids.size(1)) < begun.unsqueeze(-1))
    return (masks & is_ended).tolist()


@torch.no_grad()
def draw_blends(model: Any, inputs: dict[str, Any], chosen: Bool[Tensor, "B T"], strategy: Strategy) -> Rollout | None:
    """Draw a mixture from the model's own prediction at each chosen position, for a second pass to be fed.

    Args:
        model: Reads the batch as tokens, in its current mode.
        inputs: The batch, as the model takes it.
        chosen: Positions whose input is replaced.

    Returns:
        A record with a column for each position but the first, which nothing predicts; None if nothing is chosen.
    """
    chosen = chosen[:, 1:]
    columns = chosen.any(dim=0).nonzero().squeeze(-1)
    if not len(columns):
        return None
    without_labels = {name: value for name, value in inputs.items() if name != "labels"}
    logits = model(**without_labels, use_cache=False, logits_to_keep=columns).logits
    mixture = strategy.draw(logits[chosen[:, columns]].float().log_softmax(dim=-1))
    rollout = Rollout.empty(*chosen.shape, num_candidates=mixture.candidate_ids.size(-1), device=chosen.device)
    rollout.candidate_ids[chosen] = mixture.candidate_ids.int()
    rollout.log_weights[chosen] = mixture.log_weights
    # A lone candidate, too: it is the model's own choice, and not the token of the row.
    rollout.mixture_mask[chosen] = True
    return rollout
