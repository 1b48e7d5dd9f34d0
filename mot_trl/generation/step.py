"""One step of decoding, the same for every engine: what each row draws, what is forced on it, and what it is fed."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mot_trl.generation.phases import Phases, PhaseState
from mot_trl.strategies import Strategy
from mot_trl.strategies.mixture import Mixture, is_mixed
from mot_trl.strategies.surrogate import LogProbType, surrogate


class Step(NamedTuple):
    """What a step did in each of `N` rows.

    Attributes:
        visible_ids: Tokens that the text goes on with.
        candidate_ids, log_weights, thinking_mask, mixture_mask, forced_mask, logps: A column of the record; see
            `Rollout`.
        phase: After the step.
        finished: Rows that have ended, in this step or before.
        non_finite: Rows that end here because their logits were NaN or infinite.
        probe_ids, probe_logps: A column of the record where the rules draw probes.
    """

    visible_ids: Int[Tensor, " N"]
    candidate_ids: Int[Tensor, "N K"]
    log_weights: Float[Tensor, "N K"]
    thinking_mask: Bool[Tensor, " N"]
    mixture_mask: Bool[Tensor, " N"]
    forced_mask: Bool[Tensor, " N"]
    logps: Float[Tensor, " N"]
    phase: PhaseState
    finished: Bool[Tensor, " N"]
    non_finite: Bool[Tensor, " N"]
    probe_ids: Int[Tensor, " N"]
    probe_logps: Float[Tensor, " N"]


@dataclass(frozen=True)
class StepRules:
    """What decides a step, beside the model: how mixtures are drawn and scored, and when a row thinks.

    Attributes:
        draws_probes: Whether a thinking row's token, drawn from p beside its mixture, is recorded as its probe.
    """

    strategy: Strategy
    phases: Phases
    mixture_score: LogProbType
    draws_probes: bool = False

    def take(
        self,
        logps: Float[Tensor, "N V"],
        phase: PhaseState,
        *,
        mixture: Mixture,
        token_ids: Int[Tensor, " N"],
        finished: Bool[Tensor, " N"],
        non_finite: Bool[Tensor, " N"],
        filler_ids: Int[Tensor, " N"],
        is_last: Callable[[Int[Tensor, " N"]], Bool[Tensor, " N"]],
        scored: bool = True,
    ) -> Step:
        """Settle what was drawn from `logps` (nats): a mixture where a row thinks, a token where it answers.

        Args:
            token_ids: Drawn from `logps`; of thinking rows, only for the rules that draw probes.
            finished: Rows that ended before; they get `filler_ids`, and so do those that `non_finite` logits end here.
            is_last: Which rows end with these visible tokens.
            scored: Whether any row may be thinking, so that its draw needs the strategy's score.
        """
        non_finite = non_finite & ~finished
        thinking_mask = phase.thinking & ~non_finite
        drawn_ids = torch.where(thinking_mask, mixture.visible_ids, token_ids)
        visible_ids, forced_mask, forced_phase = self.phases.force(phase, drawn_ids)
        visible_ids = torch.where(finished | non_finite, filler_ids, visible_ids)
        forced_mask = forced_mask | non_finite
        logps_of_draws = logps.gather(-1, visible_ids.unsqueeze(-1)).squeeze(-1)
        if scored:
            candidate_logps = logps.gather(-1, mixture.candidate_ids)
            scores = surrogate(self.strategy, candidate_logps, mixture, log_prob_type=self.mixture_score)
            logps_of_draws = torch.where(phase.thinking, scores, logps_of_draws)
        all_finished = finished | non_finite | is_last(visible_ids)
        after = self.phases.advance(forced_phase, visible_ids, logps, all_finished)
        # The token that completes the closing tag was drawn as a mixture and is fed as itself, so that the answer
        # begins after a token. Where the tag will be forced instead, the last thought stays a mixture.
        closes = thinking_mask & ~after.thinking & (after.forced < 0)
        # Where no mixture was drawn the record holds its blank, whatever the strategy gave for the row.
        drawn = thinking_mask.unsqueeze(-1)
        blank = torch.where(torch.arange(mixture.candidate_ids.size(-1), device=logps.device) == 0, 0.0, -torch.inf)
        return Step(
            visible_ids,
            candidate_ids=torch.where(drawn, mixture.candidate_ids, 0).int(),
            log_weights=torch.where(drawn, mixture.log_weights, blank),
            thinking_mask=thinking_mask,
            mixture_mask=thinking_mask & ~closes & is_mixed(mixture.log_weights),
            forced_mask=forced_mask,
            logps=logps_of_draws.masked_fill(finished | forced_mask, 0.0),
            phase=after,
            finished=all_finished,
            non_finite=non_finite,
            probe_ids=token_ids.masked_fill(~thinking_mask, 0).int(),
            probe_logps=logps.gather(-1, token_ids.unsqueeze(-1)).squeeze(-1).masked_fill(~thinking_mask, 0.0),
        )


def log_probs(scores: Float[Tensor, "N V"]) -> tuple[Float[Tensor, "N V"], Bool[Tensor, " N"]]:
    """Log-probabilities (nats) to draw from, uniform in rows with NaN or infinite scores, and which rows those are."""
    logps = scores.log_softmax(dim=-1)
    # NaN or infinity anywhere in a row makes its normalizer NaN, and with it the whole row: one column tells.
    non_finite = logps[:, 0].isnan()
    return logps.masked_fill_(non_finite.unsqueeze(-1), -math.log(logps.size(-1))), non_finite


def most_likely(logps: Float[Tensor, "N V"]) -> Mixture:
    """The limit of zero temperature, where every mixture is its most likely token."""
    token_ids = logps.argmax(dim=-1)
    return Mixture(token_ids.unsqueeze(-1), torch.zeros(len(token_ids), 1, device=logps.device), token_ids)
