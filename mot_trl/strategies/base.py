"""The strategy interface, and the sampling steps that strategies share."""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mot_trl.strategies.mixture import Mixture


@runtime_checkable
class Strategy(Protocol):
    """One decision seen twice: `draw` a mixture while generating, give its `log_prob` while training.

    Both are pure functions of log-probabilities: a strategy never sees a model. `log_prob` may use the record, and the
    log-probabilities of the recorded candidates under the model being trained; nothing else.
    """

    @property
    def exact(self) -> bool:
        """Whether `log_prob` is the log-density of everything random that the blended embedding depends on.

        Its gradient is then an unbiased score function. Most strategies say it once, as a `ClassVar`.
        """
        ...

    def draw(self, logps: Float[Tensor, "N V"]) -> Mixture:
        """Draw one mixture per row from `logps`, a float32 log-softmax (nats); global generator, no host sync."""
        ...

    def log_prob(self, candidate_logps: Float[Tensor, "N K"], mixture: Mixture) -> Float[Tensor, " N"]:
        """Log-probability (nats) of the recorded draw, differentiable in the candidates' own log-probabilities."""
        ...


@runtime_checkable
class BlendingStrategy(Protocol):
    """A strategy that blends its candidates' embeddings other than by their weighted sum."""

    def blend(self, embeddings: Float[Tensor, "N K H"], log_weights: Float[Tensor, "N K"]) -> Float[Tensor, "N H"]:
        """Turn the `K` embeddings of each row into the one that the model is fed."""
        ...


def exponential_like(values: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
    """Standard exponential noise, float32 and above 0; minus its logarithm is Gumbel noise."""
    noise = torch.empty_like(values, dtype=torch.float32).exponential_()
    # Callers divide probabilities by the noise: a zero would turn a token of probability 0 into 0 / 0, which wins.
    return noise.clamp_min_(torch.finfo(torch.float32).tiny)


def sample_visible(candidate_ids: Int[Tensor, "N K"], log_weights: Float[Tensor, "N K"]) -> Int[Tensor, " N"]:
    """Sample one candidate per row with the probability of its weight."""
    # Gumbel-max rather than `torch.multinomial`, which reads its input back to the host to check it.
    return argmax_weight(candidate_ids, log_weights - exponential_like(log_weights).log())


def argmax_weight(candidate_ids: Int[Tensor, "N K"], log_weights: Float[Tensor, "N K"]) -> Int[Tensor, " N"]:
    """Candidate with the largest weight."""
    return candidate_ids.gather(-1, log_weights.argmax(dim=-1, keepdim=True)).squeeze(-1)


def sample_mixture(candidate_ids: Int[Tensor, "N K"], log_weights: Float[Tensor, "N K"]) -> Mixture:
    """Mixture with these weights, whose visible token is sampled with the probability of its weight."""
    return Mixture(candidate_ids, log_weights, sample_visible(candidate_ids, log_weights))


def visible_logp(candidate_logps: Float[Tensor, "N K"], mixture: Mixture) -> Float[Tensor, " N"]:
    """Log-probability of the visible token, whichever candidate it is, float32.

    Strategies whose weights follow from p without randomness have this as their `log_prob`.
    """
    # A token may fill several slots (`multiplex`); they all hold its log-probability, so the first will do.
    slots = (mixture.candidate_ids == mixture.visible_ids.unsqueeze(-1)).int().argmax(dim=-1, keepdim=True)
    return candidate_logps.gather(-1, slots).squeeze(-1).float()
