"""How far an engine's record is from transformers' replay of it."""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from mot_trl import MixtureDecoder, Rollout
from mot_trl.generation.phases import Phases
from mot_trl.modeling.embedding import blend_of, override_embeddings
from mot_trl.strategies.surrogate import surrogate


def replay_gap(
    model: PreTrainedModel,
    decoder: MixtureDecoder,
    prompts: Sequence[Sequence[int]],
    ids: Tensor,
    record: Rollout,
    *,
    temperature: float = 1.0,
) -> float:
    """How far a draw's log-probability is from transformers' replay of the record (nats); phases must be the same."""
    gaps = []
    for row, prompt in enumerate(prompts):
        length = int(record.lengths[row])
        visible, one = ids[row, :length], record.rows(row, row + 1).resize(length)
        with torch.no_grad(), override_embeddings(model, blend_of(decoder.strategy)) as override:
            override.inputs = one.inputs
            input_ids = torch.cat([torch.tensor(prompt), visible])[None]
            logits = model(input_ids=input_ids).logits[0, len(prompt) - 1 : -1]
        logps = (logits.float() / temperature).log_softmax(dim=-1)
        check_phases(decoder.phases, visible, logps, one)
        want, thinking = logps.gather(-1, visible[:, None])[:, 0], one.thinking_mask[0]
        candidate_logps = logps.gather(-1, one.candidate_ids[0].long())[thinking]
        kind = decoder.mixture_score
        want[thinking] = surrogate(decoder.strategy, candidate_logps, one.mixtures(visible[None]), log_prob_type=kind)
        gaps.append((want - one.logps[0]).abs().masked_fill(one.forced_mask[0], 0.0))
    return torch.cat(gaps).max().item()


def check_phases(phases: Phases, visible: Tensor, logps: Tensor, record: Rollout) -> None:
    """Go through a completion again, and see that each token was thought, forced or plain as the rules say."""
    state = phases.begin(1, visible.device)
    for column in range(len(visible)):
        assert record.thinking_mask[0, column] == state.thinking[0], column
        token, forced, state = phases.force(state, visible[column : column + 1])
        assert record.forced_mask[0, column] == forced[0], column
        assert token == visible[column], column
        finished = torch.tensor([column == len(visible) - 1])
        state = phases.advance(state, token, logps[column : column + 1], finished)
    assert record.closed_by[0] == state.closed_by[0]
