"""One completion as a row of a trace file."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from mot_trl.generation.stop_text import token_texts
from mot_trl.modeling.rollout import Rollout
from mot_trl.traces.phase_changes import phase_changes
from mot_trl.traces.token_text import token_text, visible_texts


def completion_columns(
    rollout: Rollout,
    tokenizer: PreTrainedTokenizerBase,
    *,
    prompt_ids: list[int],
    completion_ids: list[int],
    causes: Sequence[str],
) -> dict[str, Any]:
    """The columns that are known once a completion is generated; `entropies` is null at each token.

    Args:
        rollout: The completion's draws, as the only row.
        tokenizer: Decodes the tokens.
        prompt_ids: Without padding.
        completion_ids: Likewise.
        causes: Names of the rules that end thinking, in the order of `Phases.rules`.
    """
    length, closed_by = len(completion_ids), int(rollout.closed_by)
    thinking, mixed, forced, logps = (
        values[0, :length].tolist()
        for values in (rollout.thinking_mask, rollout.mixture_mask, rollout.forced_mask, rollout.logps)
    )
    cause = causes[closed_by] if closed_by >= 0 else None
    candidate_ids, log_weights = _drawn_candidates(rollout, length)
    vocabulary, tokens = token_texts(tokenizer), visible_texts(tokenizer, completion_ids)
    # Models such as Qwen2.5 also stop at the padding token.
    end_ids = (tokenizer.eos_token_id, tokenizer.pad_token_id)
    return {
        "prompt": tokenizer.decode(prompt_ids, clean_up_tokenization_spaces=False),
        "prompt_ids": prompt_ids,
        # Not decoded as a whole, so that it is the tokens' texts joined, to the letter.
        "completion": "".join(tokens),
        "completion_ids": completion_ids,
        "tokens": tokens,
        "candidate_ids": candidate_ids,
        "candidate_tokens": [[token_text(token_id, vocabulary) for token_id in ids] for ids in candidate_ids],
        "log_weights": log_weights,
        "thinking": thinking,
        "mixed": mixed,
        "forced": forced,
        "logps": logps,
        "entropies": [None] * length,
        "phases": phase_changes(thinking, forced, cause=cause),
        "closed_by": cause,
        "truncated": not completion_ids or completion_ids[-1] not in end_ids,
    }


def _drawn_candidates(rollout: Rollout, length: int) -> tuple[list[list[int]], list[list[float]]]:
    """Candidate ids and log-weights at each position of the only row; empty where the strategy drew nothing."""
    log_weights = rollout.log_weights[0, :length]
    # Positions outside the thinking hold a one-hot filler, so the weights alone do not show what was drawn.
    used = (log_weights > -torch.inf) & rollout.thinking_mask[0, :length].unsqueeze(-1)
    ids, weights = rollout.candidate_ids[0, :length][used].tolist(), log_weights[used].tolist()
    # Converted to lists in one go and cut afterwards, since a tensor operation per position would be slow.
    spans = list(pairwise([0, *used.sum(dim=-1).cumsum(0).tolist()]))
    return [ids[start:end] for start, end in spans], [weights[start:end] for start, end in spans]
