"""Make Reasoning Gym's items in a separate process, where they are always the same and can be timed out."""

import json
import os
import selectors
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mot_trl.sandbox import codec

_ROOT = Path(__file__).resolve().parents[3]
_START_SECONDS = 120
_READ_BYTES = 1 << 16


class RefusedError(ValueError):
    """A dataset does not exist, or does not take its settings."""


class Item(NamedTuple):
    """An item with the settings it was made with; `entry` has Reasoning Gym's `question`, `answer` and `metadata`."""

    entry: dict[str, Any]
    config: dict[str, Any]


class Generator:
    """A handle on the process that makes items. It starts when first needed, and again after a fork or a failure.

    Args:
        timeout: Seconds that one item may take.
    """

    def __init__(self, timeout: float = 60.0) -> None:
        """Keep the setting; no process starts yet."""
        self._timeout = timeout
        self._process: Any = None
        self._owner = 0
        self._buffer = bytearray()
        # One request at a time: the answers have no sign of whose they are.
        self._lock = threading.Lock()

    def names(self) -> list[str]:
        """The names of all datasets."""
        return self._ask({"do": "names"}, 1)[0]

    def levels(self, task: str) -> int:
        """The number of levels of a dataset's own curriculum; 0 if it has none."""
        return self._ask({"do": "levels", "task": task}, 1)[0]

    def items(
        self, task: str, config: Mapping[str, Any], *, seed: int, indices: Sequence[int], level: int | None = None
    ) -> list[Item]:
        """Items of a dataset, in Reasoning Gym's own numbering.

        Args:
            task: The dataset's name.
            config: Its settings, without `seed` and `size`.
            seed: Reasoning Gym's seed. Item `i` of seed `s` is, in nearly all datasets, item 0 of seed `s + i`.
            indices: The items' numbers.
            level: Of the dataset's own curriculum, whose settings then replace those of `config`.

        Raises:
            ValueError: The dataset refuses its settings.
            TimeoutError: An item took more than `timeout` seconds.
            ImportError: reasoning-gym is not installed.
        """
        request = {"task": task, "config": codec.encode(dict(config)), "seed": seed, "level": level}
        answers = self._ask({"do": "items", **request, "indices": list(indices)}, len(indices))
        return [Item(answer["item"], answer["config"]) for answer in answers]

    def close(self) -> None:
        """End the process. The generator may be used again."""
        process, self._process = self._process, None
        # A fork of the trainer only forgets the process, which is not its child.
        if process is not None and self._owner == os.getpid():
            process.kill()
            process.communicate()

    def _ask(self, request: dict[str, Any], count: int) -> list[Any]:
        with self._lock:
            try:
                process = self._started()
                process.stdin.write(json.dumps(request).encode() + b"\n")
                process.stdin.flush()
                return [self._read(process, request) for _ in range(count)]
            except RefusedError:  # a complete answer, so the next one can be read
                raise
            except BaseException:  # a half-read answer must not be taken for the next request's
                self.close()
                raise

    def _read(self, process: Any, request: dict[str, Any]) -> Any:
        answer = self._line(process, self._timeout, request)
        if "error" in answer:
            raise RefusedError(f"Reasoning Gym refuses {_words(request)}: {answer['error']}")
        return codec.decode(answer["answer"])

    def _started(self) -> Any:
        # After a fork the process belongs to the parent: two readers of one pipe would mix up their answers.
        if self._process is not None and self._owner == os.getpid() and self._process.poll() is None:
            return self._process
        self._buffer.clear()
        self._owner = os.getpid()
        path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH", "")]))
        self._process = subprocess.Popen(
            # -P, so that a `reasoning_gym` in the working directory does not hide the package; not -I, which would
            # ignore PYTHONHASHSEED.
            [sys.executable, "-P", "-m", "mot_trl.tasks.reasoning_gym.generator_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"},
            start_new_session=True,  # Ctrl-C must reach the trainer alone
        )
        hello = self._line(self._process, _START_SECONDS, {"do": "start"})
        if "missing" in hello:
            raise ImportError(f'Reasoning Gym is missing; `pip install "mot-trl[rg]"`. ({hello["missing"]})')
        return self._process

    def _line(self, process: Any, timeout: float, request: dict[str, Any]) -> dict[str, Any]:
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while (end := self._buffer.find(b"\n")) < 0:
                if not selector.select(timeout):
                    raise TimeoutError(f"No item in {timeout:g} s; ask for easier ones than {_words(request)}.")
                # Unbuffered: `select` does not see what a buffered reader has already taken in.
                part = os.read(process.stdout.fileno(), _READ_BYTES)
                if not part:
                    raise RuntimeError(f"Reasoning Gym's process ended making {_words(request)}.")
                self._buffer += part
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return json.loads(line)


def _words(request: dict[str, Any]) -> str:
    config = codec.decode(request.get("config", {"dict": []}))
    return f"{request.get('task', 'anything')} with {config}" + (
        f" at level {request['level']}" if request.get("level") else ""
    )


GENERATOR = Generator()
"""The process that `reasoning_gym.load` and `stream` use."""
