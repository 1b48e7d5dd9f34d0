"""The `mixtures` column of TRL's completions table: where each completion mixed the most tokens."""

from transformers import PreTrainedTokenizerBase

from mot_trl.modeling.rollout import Rollout
from mot_trl.traces.token_text import token_text

COLUMN = "mixtures"
MIN_WEIGHT = 0.005
"""Below this weight a candidate is left out: it would be shown as 0 %."""


def widest_mixtures(
    rollout: Rollout, tokenizer: PreTrainedTokenizerBase, *, positions: int = 5, num_candidates: int = 3
) -> list[str]:
    """For each completion, the mixtures with the most effective candidates, as in `#12 'the' 62% 'a' 38%`."""
    records = (tensor.cpu() for tensor in (rollout.candidate_ids, rollout.log_weights.exp(), rollout.mixture_mask))
    cells = []
    for candidate_ids, weights, mask in zip(*records, strict=True):
        mixed = mask.nonzero().squeeze(1)
        effective = 1 / weights[mixed].square().sum(dim=-1)
        lines = [f"{effective.mean():.2f} effective"]
        for position in mixed[effective.topk(min(positions, len(mixed))).indices].sort().values.tolist():
            shares, order = weights[position].topk(min(num_candidates, weights.size(-1)))
            drawn = zip(candidate_ids[position][order].tolist(), shares.tolist(), strict=True)
            texts = [(token_text(tokenizer, token_id), share) for token_id, share in drawn if share >= MIN_WEIGHT]
            # Quoted in ASCII, so that no control character of a completion reaches the terminal.
            lines.append(f"#{position} " + " ".join(f"{text!a} {share:.0%}" for text, share in texts))
        cells.append("\n".join(lines) if len(mixed) else "none")
    return cells
