"""Make Reasoning Gym's items in a separate process, where they are always the same and can be timed out."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from multiprocessing import Pipe
from pathlib import Path
from typing import Any, NamedTuple

from mot_trl.sandbox import codec

_ROOT = Path(__file__).resolve().parents[3]
_START_SECONDS = 120
# Items asked for at a time. The process answers sooner, with fewer, where they take long (`SLICE`).
_BATCH = 512


class RefusedError(ValueError):
    """A dataset does not exist, or does not take its settings."""


class Item(NamedTuple):
    """An item with the settings it was made with; `entry` has Reasoning Gym's `question`, `answer` and `metadata`."""

    entry: dict[str, Any]
    config: dict[str, Any]


class Generator:
    """A handle on the process that makes items. It starts when first needed, and again after a fork or a failure.

    An item may take `timeout` seconds.
    """

    def __init__(self, timeout: float = 60.0) -> None:
        """Keep the setting; no process starts yet."""
        self._timeout = timeout
        self._process: subprocess.Popen | None = None
        self._connection: Any = None
        # One request at a time: the answers have no sign of whose they are.
        self._lock = threading.Lock()

    def names(self) -> list[str]:
        """The names of all datasets."""
        return self._ask("names")

    def levels(self, task: str) -> int:
        """The number of levels of a dataset's own curriculum; 0 if it has none."""
        return self._ask("levels", task=task)

    def items(
        self, task: str, config: Mapping[str, Any], *, seed: int, indices: Sequence[int], level: int | None = None
    ) -> list[Item]:
        """Items of a dataset, in Reasoning Gym's own numbering.

        Args:
            config: The settings, without `seed` and `size`.
            seed: Reasoning Gym's seed. Item `i` of seed `s` is, in nearly all datasets, item 0 of seed `s + i`.
            level: Of the dataset's own curriculum, whose settings then replace those of `config`.

        Raises:
            ValueError: The dataset refuses its settings.
            TimeoutError: An item took more than `timeout` seconds.
            ImportError: reasoning-gym is not installed.
        """
        found: list[Item] = []
        while len(found) < len(indices):
            made = self.some(task, config, seed=seed, indices=indices[len(found) :], level=level)
            found += [item for item in made if item is not None]
        return found

    def some(
        self,
        task: str,
        config: Mapping[str, Any],
        *,
        seed: int,
        indices: Sequence[int],
        level: int | None = None,
        split: str | None = None,
    ) -> list[Item | None]:
        """The first few of the items, as many as are made in a moment, but one at least, by one round trip.

        Args:
            split: Leaves None in the place of an item of another one.

        The other arguments and the errors are those of `items`.
        """
        packed = json.dumps(codec.encode(dict(config)))
        ask = partial(self._ask, "items", task=task, config=packed, seed=seed, level=level, split=split)
        try:
            settings, entries = ask(indices=[*indices[:_BATCH]])
        except TimeoutError:
            if len(indices) == 1:
                raise
            # It may be a later one that takes so long, and none of those may be wanted.
            settings, entries = ask(indices=[indices[0]])
        return [entry and Item(entry, settings) for entry in entries]

    def close(self) -> None:
        """End the process. The generator may be used again."""
        process, self._process = self._process, None
        # In a fork of the trainer, to which the process is no child, both do nothing.
        if process is not None:
            process.kill()
            process.wait()

    def _ask(self, function: str, **request: Any) -> Any:
        with self._lock:
            try:
                self._ensure_started()
                self._connection.send((function, request))
                error, answer = self._receive(self._timeout, request)
            except BaseException:  # an answer still to come must not be taken for the next request's
                self.close()
                raise
        if error is not None:
            raise RefusedError(f"Reasoning Gym refuses {_words(**request)}: {error}")
        return codec.decode(answer)

    def _receive(self, timeout: float, request: dict[str, Any]) -> tuple[str | None, Any]:
        try:
            if not self._connection.poll(timeout):
                raise TimeoutError(f"No item in {timeout:g} s; ask for easier ones than {_words(**request)}.")
            return self._connection.recv()
        except (EOFError, ConnectionError) as error:
            raise RuntimeError(f"Reasoning Gym's process ended making {_words(**request)}.") from error

    def _ensure_started(self) -> None:
        # After a fork, `poll` finds no such child and says that it ended. So each process has its own: two readers of
        # one pipe would mix up their answers.
        if self._process is not None and self._process.poll() is None:
            return
        path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH", "")]))
        self._connection, theirs = Pipe()
        # Not multiprocessing's spawn, which runs the user's script again and cannot fix the hash seed. The child must
        # hold the only copy of its end, or its death would go unnoticed here.
        with theirs:
            self._process = subprocess.Popen(
                # -P, so that a `reasoning_gym` in the working directory does not hide the package; not -I, which would
                # ignore PYTHONHASHSEED.
                [sys.executable, "-P", "-m", f"{__package__}.generator_worker", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # some generators print
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"},
                start_new_session=True,  # Ctrl-C must reach the trainer alone
            )
        missing, _ = self._receive(_START_SECONDS, {})
        if missing is not None:
            # Here, as this module is also imported inside the sandbox.
            from mot_trl.extras import install_hint

            raise ImportError(f"Reasoning Gym is missing ({missing}): {install_hint('rg')}")


def _words(task: str = "anything", config: str = '{"dict": []}', level: int | None = None, **_: Any) -> str:
    return f"{task} with {codec.decode(json.loads(config))}" + (f" at level {level}" if level else "")


GENERATOR = Generator()
"""The process that `reasoning_gym.load` and `stream` use."""
