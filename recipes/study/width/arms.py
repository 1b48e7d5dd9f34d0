"""The arms of the study's second part: how a model was taught to think, and how it then thinks."""

from typing import Any, Literal, NamedTuple

from mot_trl.generation.config import DecoderConfig
from mot_trl.tasks import width

STEPS = max(family.steps for family in width.TASKS.values())
"""Thinking steps that a superposed frontier needs, the budget of all arms but one."""

ALL_STEPS = 24
"""At most as many for the arm that may write each frontier out; the longest takes 14."""

ANSWER_TOKENS = 6
"""Room for the closing tag, the tagged answer and the end of the completion."""

CANDIDATES: dict[str, Any] = {"k": 8, "min_prob": 0.02}
"""The support of the mixtures, and of the tokens that are truncated to it: the widest frontier has 8 members."""

Kind = Literal["mixture", "control", "reference"]


class Arm(NamedTuple):
    """A way that a model was taught, and a decoder.

    Attributes:
        way: One of `mot_trl.tasks.width.puzzle.WAYS`.
        kind: `mixture`; `control`, at the same number of steps; or `reference`, with more steps.
        settings: The decoder, in evaluation and in GRPO.
        greedy: Whether the likeliest token is taken at each step; evaluated only, since it explores nothing.
    """

    name: str
    way: str
    kind: Kind
    settings: DecoderConfig
    greedy: bool = False


def _arm(name: str, way: str, kind: Kind, strategy: str, *, steps: int = STEPS, **options: Any) -> Arm:
    greedy = options.pop("greedy", False)
    return Arm(name, way, kind, DecoderConfig(strategy, options, max_mixture_tokens=steps), greedy)


ARMS: tuple[Arm, ...] = (
    _arm("dirichlet", "superposed", "mixture", "dirichlet", **CANDIDATES, concentration=16.0),
    _arm("multiplex", "superposed", "mixture", "multiplex", k=8),
    _arm("top_k", "superposed", "mixture", "top_k", **CANDIDATES),
    _arm("nano-soft, tokens", "superposed", "control", "one_token"),
    _arm("nano-soft, truncated", "superposed", "control", "one_token", **CANDIDATES),
    _arm("nano-soft, greedy", "superposed", "control", "one_token", greedy=True),
    _arm("path, tokens", "path", "control", "one_token"),
    _arm("path, truncated", "path", "control", "one_token", **CANDIDATES),
    _arm("path, greedy", "path", "control", "one_token", greedy=True),
    _arm("breadth first", "breadth_first", "control", "one_token"),
    _arm("breadth first, greedy", "breadth_first", "control", "one_token", greedy=True),
    _arm("pauses", "pause", "control", "one_token"),
    _arm("breadth first, all steps", "breadth_first", "reference", "one_token", steps=ALL_STEPS),
)
"""Mixtures first, then the controls that each of them is compared with."""

VOTES = ("nano-soft, tokens", "path, tokens", "breadth first")
"""Arms whose completions also vote; the majority is a control with as many completions as it has voters."""

FIRST = ("dirichlet", "multiplex", "nano-soft, tokens", "path, tokens", "breadth first", "pauses")
"""Arms that GRPO trains on all seeds before any other."""
