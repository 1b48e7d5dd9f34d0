"""Callbacks for a run in a terminal: a line of progress at each log, and Ctrl-C that saves a checkpoint."""

import re
import signal
import threading
import time
from typing import Any

import torch
import torch.distributed as dist
from transformers import TrainerCallback

_REWARD = re.compile(r"(eval_)?((?<=eval_)\w+_)?reward")


class ProgressLines(TrainerCallback):
    """Print a line at each log: the step, the mean rewards in training and evaluation, and the time left."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clock."""
        self._begun, self._first = time.monotonic(), state.global_step

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        """Print the rewards of a log that has any; those of several evaluation sets with their names."""
        found = {_REWARD.fullmatch(name): value for name, value in (logs or {}).items()}
        rewards = [
            f"{'held-out reward' if match[1] else 'reward'}{' of ' + match[2][:-1] if match[2] else ''} {value:.2f}"
            for match, value in found.items()
            if match is not None
        ]
        if not rewards or not state.is_world_process_zero:
            return
        # A resumed run has done some of its steps before the clock started.
        done = state.global_step - self._first
        left = (time.monotonic() - self._begun) / max(done, 1) * (state.max_steps - state.global_step)
        clock = f"{int(left) // 60}:{int(left) % 60:02d} left" if done else ""
        print(f"step {state.global_step:4d} of {state.max_steps}   {'   '.join(rewards):24s}   {clock}", flush=True)


class SaveOnInterrupt(TrainerCallback):
    """End training with a checkpoint after the step in which Ctrl-C comes; a second Ctrl-C ends it at once.

    Python delivers signals to the main thread only, so there is no effect in others.
    """

    def __init__(self) -> None:
        self.interrupted = False
        self._previous: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Install the handler."""
        # A shell's background jobs ignore Ctrl-C, which is meant for the job in the foreground.
        ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN
        if threading.current_thread() is threading.main_thread() and not ignored:
            self._previous = signal.signal(signal.SIGINT, self._request_stop)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Save and stop if there was a signal, in whichever process."""
        # Processes hear it in different steps, and would wait for one another in the save.
        if dist.is_initialized():
            heard = torch.tensor(float(self.interrupted), device=args.device)
            dist.all_reduce(heard, op=dist.ReduceOp.MAX)
            self.interrupted = bool(heard)
        if self.interrupted:
            control.should_save = control.should_training_stop = True

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Restore the previous handler."""
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
            self._previous = None

    def _request_stop(self, *_: Any) -> None:
        # Nothing is saved here: the signal may come in the middle of a step, or of another save.
        self.interrupted = True
        signal.signal(signal.SIGINT, self._previous)
        print("\nSaving after this step; Ctrl-C again stops at once.", flush=True)
