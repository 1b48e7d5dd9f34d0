"""Warn while nothing can be learnt: no thinking closes, or all rewards of each prompt are equal."""

from collections.abc import Callable, Mapping
from typing import Any

from transformers import TrainerCallback
from transformers.utils import logging

logger = logging.get_logger(__name__)

PATIENCE = 10
"""Steps in a row after which there is a warning, once until the trouble ends."""

# What the log says when nothing can be learnt. A thinking that stays open also makes rewards equal, so it comes first.
SIGNS: Mapping[str, Callable[[Mapping[str, float]], bool]] = {
    "open": lambda logs: logs.get("mixture/closed_ratio") == 0,
    "flat": lambda logs: logs.get("frac_reward_zero_std") == 1,
}


class StallWatch(TrainerCallback):
    """Reads the log, and warns with what to change."""

    def __init__(self) -> None:
        self._since: dict[str, int] = {}
        self._previous = 0
        self._warned: set[str] = set()

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Begin at the step that is resumed from."""
        self._previous = state.global_step

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        """Count the steps of each trouble; evaluations log other names."""
        if not state.is_world_process_zero or "frac_reward_zero_std" not in (logs or {}):
            return
        found = next((sign for sign, shows in SIGNS.items() if shows(logs or {})), None)
        for sign in SIGNS:
            if sign != found:
                self._since.pop(sign, None)
                self._warned.discard(sign)
        if found is not None:
            # A log tells of all steps since the one before.
            steps = state.global_step - self._since.setdefault(found, self._previous)
            if steps >= PATIENCE and found not in self._warned:
                self._warned.add(found)
                logger.warning(_MESSAGES[found](args, steps, (logs or {}).get("reward", 0.0)))
        self._previous = state.global_step


def _open(args: Any, steps: int, _: float) -> str:
    longest = args.max_completion_length
    return (
        f"No completion has closed its thinking in {steps} steps, so none has an answer that could earn: set a "
        f"budget, such as `max_mixture_tokens={longest * 3 // 4 if longest else 768}`, which forces "
        f"{args.stop_text!r} once it is spent, or set `stop_text` to what the model writes."
    )


def _flat(args: Any, steps: int, reward: float) -> str:
    return (
        f"All completions of each prompt have earned the same in {steps} steps ({reward:.3g} on average), so nothing "
        f"can be learnt: take {'harder' if reward > 0.5 else 'easier'} prompts, more completions of each "
        f"(`num_generations={args.num_generations}`), a higher `temperature`, or add a reward that pays for part of "
        "the way, such as for the form of the answer. `mot-trl traces` shows the completions."
    )


_MESSAGES = {"open": _open, "flat": _flat}
