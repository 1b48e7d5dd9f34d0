"""One token a step: ordinary sampling, the control of every comparison."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from mot_trl.mixture import Mixture
from mot_trl.strategies.base import visible_logp


@dataclass(frozen=True)
class OneToken:
    """One draw from p, with all the weight: ordinary GRPO."""

    exact: ClassVar[bool] = True

    def draw(self, logps: Float[Tensor, "N V"]) -> Mixture:
        """Draw one token a row, as transformers' `generate` does."""
        token_ids = torch.multinomial(logps.exp(), 1)
        return Mixture(token_ids, torch.zeros_like(token_ids, dtype=torch.float32), token_ids.squeeze(-1))

    def log_prob(self, candidate_logps: Float[Tensor, "N K"], mixture: Mixture) -> Float[Tensor, " N"]:
        """Log-probability of the token."""
        return visible_logp(candidate_logps, mixture)
