"""The strategy interface, and what strategies share: checks of their options, and sampling steps."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Literal, Protocol, get_args, get_origin, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mot_trl.strategies.mixture import Mixture
from mot_trl.strategies.support import in_support, renormalize


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


@runtime_checkable
class VisibleStrategy(Protocol):
    """A strategy that knows the distribution of its visible token, as `mixture_score="visible"` needs."""

    def visible_log_prob(self, candidate_logps: Float[Tensor, "N K"], mixture: Mixture) -> Float[Tensor, " N"]:
        """Log-probability (nats) of showing the visible token, whatever else was drawn; differentiable as `log_prob`.

        Of the distribution that the token was really drawn from: where that is q, p renormalized on the candidates,
        log p would exceed it by the candidates' log-mass, whose gradient is no part of the score.
        """
        ...


# What an option may be, and how a refusal says it. Conditions are written so that NaN fails them too.
_RANGES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "k": (lambda k: k >= 1, "is how many candidates a mixture has, so it must be at least 1"),
    "min_prob": (lambda q: 0 <= q < 1, "is a share of the candidates' mass: give 0 (no floor) to below 1"),
    "nucleus": (lambda p: 0 < p <= 1, "is a probability mass: give above 0 to 1 (no limit)"),
    "min_p": (lambda r: 0 <= r <= 1, "is a ratio to the largest probability: give 0 (all `k`) to 1"),
    "min_rest": (lambda p: 1e-5 <= p < 1, "is a probability from 1e-5, float32's resolution, to 1"),
    "concentration": (lambda a: 0 < a < math.inf, "must be a number above 0 (published: 1 or 4)"),
    "resolution": (lambda n: n >= 1, "is a number of draws, so it must be at least 1"),
    "temperature": (lambda t: 0 < t < math.inf, "must be a number above 0 (published: 0.1, 0.5)"),
    # From 1e-30 on, log-weights stay above -70 - log k, far from those that mark censored slots.
    "min_ratio": (lambda r: r == 0 or 1e-30 <= r < 1, "is a share of the largest weight: 0 (off), or 1e-30 to 1"),
    "adaptive": (lambda flag: isinstance(flag, bool), "chooses `k` by entropy: give true or false"),
    "rate": (lambda r: r is None or 0 <= r <= 1, "is the probability of mixing at a step: give 0 to 1"),
    "min_entropy": (lambda h: h is None or 0 <= h < math.inf, "is an entropy in nats: give 0 or more"),
    "beta": (lambda b: 0 <= b < math.inf, "is a weight of the token drawn: give 0 or more (published: 1)"),
}


@dataclass(frozen=True)
class CheckedOptions:
    """Base class of strategies whose fields are options: checks them by name and, for `Literal` ones, by choice."""

    def __post_init__(self) -> None:
        """Refuse an option out of its range with a ValueError."""
        for option in fields(self):
            name, value, choices = option.name, getattr(self, option.name), get_args(option.type)
            if get_origin(option.type) is Literal and value not in choices:
                listed = " or ".join(f'"{choice}"' for choice in choices)
                raise ValueError(f"`{name}` must be {listed}, not {value!r}.")
            # A subclass outside of the library may have options that the table does not know.
            valid, meaning = _RANGES.get(name, (lambda _: True, ""))
            # A command line gives text where it cannot read a number, and text compares with none.
            if (isinstance(value, str) and name in _RANGES) or not valid(value):
                raise ValueError(f"`{name}` {meaning}, not {value!r}.")


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
    """Log-probability of the visible token under p, float32: the score of a token drawn from the whole vocabulary."""
    # A token may fill several slots (`multiplex`); they all hold its log-probability, so the first will do.
    slots = (mixture.candidate_ids == mixture.visible_ids.unsqueeze(-1)).int().argmax(dim=-1, keepdim=True)
    return candidate_logps.gather(-1, slots).squeeze(-1).float()


def visible_logq(candidate_logps: Float[Tensor, "N K"], mixture: Mixture) -> Float[Tensor, " N"]:
    """Log-probability of the visible token under q, float32: the score of a token drawn from the candidates alone."""
    # The support is the record's, not today's most likely tokens: the model has moved since, and q must stay the
    # distribution of the same draw.
    return visible_logp(renormalize(candidate_logps, in_support(mixture)), mixture)


def check_strategy(strategy: Any) -> None:
    """Check that an object of the user's own can be used as a strategy.

    Raises:
        TypeError: It is a class, or lacks a part of `Strategy`.
    """
    if isinstance(strategy, type):
        raise TypeError(f"A strategy is an object, and {strategy.__name__} is a class: give `{strategy.__name__}()`.")
    if missing := [name for name in ("draw", "log_prob", "exact") if not hasattr(strategy, name)]:
        raise TypeError(
            f"{strategy!r} is no strategy, for it lacks {', '.join(missing)}; `mot_trl.Strategy` describes them. "
            "Strategies of this library are named in the config."
        )
