"""A column for TRL's table of completions: where each one's thinking was mixed most widely."""

from transformers import PreTrainedTokenizerBase

from mot_trl.generation.stop_text import token_texts
from mot_trl.modeling.rollout import Rollout
from mot_trl.traces.token_text import token_text

COLUMN = "mixtures"
SMALLEST = 0.005
"""A weight that would be shown as 0 % is left out."""


def widest_mixtures(
    rollout: Rollout, tokenizer: PreTrainedTokenizerBase, *, positions: int = 5, num_candidates: int = 3
) -> list[str]:
    """For each completion, the mixtures of most effective candidates, in order, as in `#12 'the' 62% 'a' 38%`.

    Tokens are quoted as Python does, so that no control character reaches a terminal.
    """
    weights = rollout.log_weights.exp().masked_fill(~rollout.mixture_mask.unsqueeze(-1), 0.0)
    effective = 1 / weights.square().sum(dim=-1)
    effective = effective.masked_fill(~rollout.mixture_mask, 0.0)
    widest = effective.topk(min(positions, effective.size(1)), dim=1).indices.sort(dim=1).values
    index = widest.unsqueeze(-1).expand(-1, -1, weights.size(-1))
    heaviest, order = weights.gather(1, index).topk(min(num_candidates, weights.size(-1)), dim=-1)
    ids = rollout.candidate_ids.gather(1, index).gather(-1, order)
    texts = token_texts(tokenizer)
    means = (rollout.mixture_mask * effective).sum(1) / rollout.mixture_mask.sum(1).clamp(min=1)
    cells = []
    for row in zip(means.tolist(), widest.tolist(), ids.tolist(), heaviest.tolist(), strict=True):
        mean, at, row_ids, row_weights = row
        lines = [
            f"#{position} "
            + " ".join(
                f"{token_text(token_id, texts)!a} {weight:.0%}"
                for token_id, weight in zip(token_ids, position_weights, strict=True)
                if weight >= SMALLEST
            )
            for position, token_ids, position_weights in zip(at, row_ids, row_weights, strict=True)
            if position_weights[0] > 0
        ]
        cells.append("\n".join([f"{mean:.2f} effective", *lines]) if lines else "none")
    return cells
