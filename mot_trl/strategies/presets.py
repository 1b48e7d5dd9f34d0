"""Published methods by name: strategy, type of log-probability and phases, at each paper's values."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

from mot_trl.strategies.surrogate import LogProbType


@dataclass(frozen=True)
class Preset:
    """One published method in this library's terms.

    Attributes:
        strategy: Name in `STRATEGIES`.
        strategy_kwargs: Options of the strategy, `k` among them; those left out keep its defaults.
        source: Title and arXiv id.
        differs: Where this library differs, and why.
        mixture_score: Log-probability used in the loss, see `mot_trl.strategies.surrogate`.
        phase: Fields of the config that say when thinking in mixtures begins and ends, where the paper says so.
        published_temperature: Sampling temperature of the paper, where known. For information: presets leave all that
            is TRL's to the user.
    """

    strategy: str
    strategy_kwargs: dict[str, Any]
    source: str
    differs: str
    mixture_score: LogProbType = "density"
    phase: dict[str, Any] = field(default_factory=dict)
    published_temperature: float | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """Fields of `DecoderConfig` that the preset stands for."""
        options = {name: value for name, value in self.strategy_kwargs.items() if value is not None}
        settings = {"strategy": self.strategy, "strategy_kwargs": options}
        return settings | {"mixture_score": self.mixture_score} | self.phase


STOCHASTIC = (
    "LLMs are Single-threaded Reasoners: Demystifying the Working Mechanism of Soft Thinking (arXiv 2508.03440)"
)
COT2 = "Continuous Chain of Thought Enables Parallel Exploration and Reasoning (arXiv 2505.23648)"

_mot_g = partial(
    Preset,
    source="Learning to Reason with Mixture of Tokens (arXiv 2509.21482)",
    mixture_score="visible",
    published_temperature=0.9,
)

# The strategies' own defaults (`min_prob`, `min_ratio`) lower the score's variance and are this library's; a paper's
# preset sets them to the paper's scheme, mostly 0.
PRESETS: dict[str, Preset] = {
    "vanilla": Preset(
        strategy="one_token",
        # A number would truncate p to that many tokens; ordinary sampling is from all of it.
        strategy_kwargs={"k": None},
        source="DeepSeekMath: Pushing the Limits of Mathematical Reasoning in Open Language Models (arXiv 2402.03300)",
        differs="Nothing: ordinary tokens, TRL's GRPO.",
    ),
    "vanilla_truncated": Preset(
        strategy="one_token",
        strategy_kwargs={"k": 3, "min_prob": 0.15},
        source="This library",
        differs="Ordinary tokens drawn from the support that mixtures have: the matched control of each of them.",
    ),
    "top_k": _mot_g(
        strategy="top_k",
        strategy_kwargs={"k": 2},
        differs="The scored token is the visible one, drawn from the weights and scored by log q; the authors score "
        "log p of a representative.",
    ),
    "nucleus": _mot_g(
        strategy="nucleus",
        strategy_kwargs={"k": 8, "nucleus": 0.9},
        differs="Keeps the nucleus: the authors' code inverts a mask and keeps the tail. At most 8 candidates. Scored "
        "as `top_k` is.",
    ),
    "dirichlet": _mot_g(
        strategy="dirichlet",
        strategy_kwargs={"k": 2, "concentration": 1.0, "min_prob": 0.0},
        differs="Weights are drawn in float32 and sum to 1; the authors' are drawn in bfloat16 and do not. Scored as "
        "`top_k` is.",
    ),
    "different_tokens": _mot_g(
        strategy="without_replacement",
        mixture_score="expected",
        strategy_kwargs={"k": 2, "weights": "renormalized"},
        differs="No second token where less than 1e-4 of probability is left to draw it from.",
    ),
    "elementwise_max": _mot_g(
        strategy="elementwise_max",
        strategy_kwargs={"k": 2},
        differs="The visible token is drawn from p renormalized on the candidates. Scored as `top_k` is.",
    ),
    "soft_thinking": Preset(
        strategy="top_k",
        strategy_kwargs={"k": 10},
        mixture_score="visible",
        phase={"cold_stop_threshold": 0.01, "cold_stop_patience": 256},
        source="Soft Thinking: Unlocking the Reasoning Potential of LLMs in Continuous Concept Space "
        "(arXiv 2505.15778)",
        differs="The training score is ours; the paper does not train. The closing tag is matched on tokens that were "
        "drawn, not on the most likely ones.",
        published_temperature=0.6,
    ),
    "stochastic_soft_thinking": Preset(
        strategy="gumbel_softmax",
        strategy_kwargs={"k": 5, "temperature": 0.5, "min_prob": 0.0, "min_ratio": 0.0},
        source=STOCHASTIC,
        differs="The training score is ours; the paper does not train. The visible token is the heaviest, so that it "
        "is an exact draw.",
    ),
    "stochastic_soft_thinking_dirichlet": Preset(
        strategy="dirichlet",
        strategy_kwargs={"k": 5, "concentration": 4.0, "min_prob": 0.0, "visible": "heaviest"},
        source=STOCHASTIC,
        differs="The training score is ours; the paper does not train.",
    ),
    "mixture_of_inputs": Preset(
        strategy="mixture_of_inputs",
        mixture_score="visible",
        strategy_kwargs={"k": 20, "beta": 1.0},
        source="Text Generation Beyond Discrete Token Sampling (arXiv 2505.14827)",
        differs="The training score is ours; the paper does not train. Mixes 20 tokens, as the authors' code does, "
        "not the paper; and only while thinking.",
    ),
    "multiplex": Preset(
        strategy="multiplex",
        strategy_kwargs={"k": 3, "weights": "renormalized", "aggregate": "joint"},
        source="Multiplex Thinking: Reasoning via Token-wise Branch-and-Merge (arXiv 2601.08808)",
        differs="One ratio of the joint probability, clipped once; the authors' code sums K clipped ratios, so that "
        "thinking counts K times.",
    ),
    "soft_grpo": Preset(
        strategy="gumbel_softmax",
        strategy_kwargs={"k": 5, "temperature": 0.1, "nucleus": 0.95, "min_prob": 0.0, "min_ratio": 0.0},
        source="SofT-GRPO: Surpassing Discrete-Token LLM Reinforcement Learning via Gumbel-Reparameterized "
        "Soft-Thinking Policy Optimization (arXiv 2511.06411)",
        differs="Scores the density of the weights; the authors score the Gumbel noise behind them, clamped, masked "
        "and averaged over the candidates.",
    ),
    "cot2": Preset(
        strategy="multiplex",
        strategy_kwargs={"k": 3, "weights": "uniform", "aggregate": "mean"},
        source=COT2,
        differs="Thinking ends with its closing tag; the paper's has a fixed length.",
    ),
    "cot2_dirichlet": Preset(
        strategy="dirichlet",
        strategy_kwargs={"k": 8, "concentration": 1.0, "min_prob": 0.0},
        source=COT2,
        differs="A Dirichlet on the most likely tokens, where the paper's spans its small vocabulary.",
    ),
    "n_grpo": Preset(
        strategy="gated",
        strategy_kwargs={"wrapped": "top_k", "k": 2, "rate": 0.1},
        mixture_score="visible",
        source="N-GRPO: Embedding-Level Neighbor Mixing for Enhanced Policy Optimization (arXiv 2606.10768)",
        differs="The second candidate is the next most likely token. The paper's is the token whose embedding has the "
        "largest cosine with the most likely one's, which no log-probability tells. The visible token is drawn from "
        "the two by weight, and scored so; the authors draw it from p, whatever is fed.",
    ),
    "dirichlet_exact": Preset(
        strategy="polya_urn",
        strategy_kwargs={"k": 3},
        source="This library, after MoT-G's Dirichlet (arXiv 2509.21482)",
        differs="Weights are multiples of 1/8: the mixture is nearly the same, its exact score far less noisy.",
    ),
    "gumbel_exact": Preset(
        strategy="gumbel_softmax",
        strategy_kwargs={"k": 5},
        source="This library, after Stochastic Soft Thinking (arXiv 2508.03440) and SofT-GRPO (arXiv 2511.06411)",
        differs="Weights that hardly change the embedding are censored: an exact score with far less noise.",
    ),
}
