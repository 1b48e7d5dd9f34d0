"""What a trainer does between steps for whoever watches it: a line of progress, and a stop that loses nothing."""

import signal
import threading
import time
from typing import Any

from transformers import TrainerCallback


class ProgressLines(TrainerCallback):
    """Prints a line at each log: the step, the mean reward, on held-out rows too, and the time that is left."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clock."""
        self._begun, self._first = time.monotonic(), state.global_step

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        """Print the rewards of a log that has any."""
        named = {"reward": "reward", "eval_reward": "held-out reward"}
        words = [f"{word} {(logs or {})[name]:.2f}" for name, word in named.items() if name in (logs or {})]
        if not words or not state.is_world_process_zero:
            return
        done = state.global_step - self._first
        left = (time.monotonic() - self._begun) / max(done, 1) * (state.max_steps - state.global_step)
        clock = f"{int(left) // 60}:{int(left) % 60:02d} left" if done else ""
        print(f"step {state.global_step:4d} of {state.max_steps}   {'   '.join(words):24s}   {clock}", flush=True)


class SaveOnInterrupt(TrainerCallback):
    """Makes the first Ctrl-C end the training after the current step, with a checkpoint; a second one ends it at once.

    Only in the main thread, as Python's signals are, and not where the process ignores Ctrl-C, as a shell's background
    jobs do.
    """

    def __init__(self) -> None:
        self.interrupted = False
        self._previous: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Take the signal over."""
        ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN
        if threading.current_thread() is threading.main_thread() and not ignored:
            self._previous = signal.signal(signal.SIGINT, self._note)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Save and stop if there was a signal."""
        if self.interrupted:
            control.should_save = control.should_training_stop = True

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Give the signal back."""
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
            self._previous = None

    def _note(self, *_: Any) -> None:
        self.interrupted = True
        signal.signal(signal.SIGINT, self._previous)
        print("\nSaving after this step; Ctrl-C again stops at once.", flush=True)
