"""The process that makes Reasoning Gym's items: `python -P -m mot_trl.tasks.reasoning_gym.generator_worker FD`.

Items of five datasets follow the order of Python's sets of strings, so they differ between processes unless
`PYTHONHASHSEED` is fixed; and a configuration can make a generator loop endlessly, which only ending a process stops.
Over the socket FD comes one request at a time, (function, arguments), and goes its answer, (error or None, value).
"""

import contextlib
import dataclasses
import json
import sys
import time
from fractions import Fraction
from functools import lru_cache
from multiprocessing.connection import Connection
from typing import Any

from mot_trl.sandbox import codec
from mot_trl.tasks.reasoning_gym.dataset import split_of

CHUNK = 1_000
"""Items in one dataset object; the next ones come from another object, whose seed is higher by this number."""

SLICE = 0.05
"""Seconds after which an answer goes out with the items made so far, as the others may not be wanted any more."""

_MAX_TERM = 10**9


def main() -> None:
    """Serve requests until the other end is closed."""
    connection = Connection(int(sys.argv[1]))
    try:
        import reasoning_gym  # noqa: F401
    except ImportError as error:
        connection.send((str(error), None))
        return
    _bound_number_sequences()
    connection.send((None, None))
    with contextlib.suppress(EOFError):
        while True:
            connection.send(_answer(*connection.recv()))


def _answer(function: str, request: dict[str, Any]) -> tuple[str | None, Any]:
    try:
        # Encoded, as a pickled value could drag Reasoning Gym's own classes into the trainer.
        return None, codec.encode({"items": items, "names": names, "levels": levels}[function](**request))
    except Exception as error:  # mostly a configuration that the dataset refuses
        return f"{type(error).__name__}: {error}", None


def names() -> list[str]:
    """The names of all datasets but `composite`, which is made of others."""
    from reasoning_gym.factory import DATASETS

    return sorted(set(DATASETS) - {"composite"})


def levels(task: str) -> int:
    """The number of levels of a dataset's curriculum; 0 if it has none."""
    from reasoning_gym.factory import create_curriculum, has_curriculum

    attributes = create_curriculum(task).attributes.values() if has_curriculum(task) else ()
    return max((len(attribute.levels) for attribute in attributes), default=0)


def items(
    task: str, config: str, seed: int, indices: list[int], level: int | None, split: str | None
) -> tuple[dict[str, Any], list[dict[str, Any] | None]]:
    """The settings, and the first few entries, in Reasoning Gym's numbering; None for one of another `split`."""
    settings = config if level is None else _settings_at(task, config, level)
    end = time.monotonic() + SLICE
    entries: list[dict[str, Any] | None] = []
    for chunk, place in (divmod(index, CHUNK) for index in indices):
        try:
            entry = _without_fractions(_dataset(task, settings, seed + chunk * CHUNK)[place])
        except Exception:
            if entries:  # which may be all that is wanted: it is raised again by the next request
                break
            raise
        entries.append(entry if split in (None, split_of(entry["question"])) else None)
        if time.monotonic() > end:
            break
    return _unpacked(settings), entries


def _without_fractions(value: Any) -> Any:
    """An entry with fractions as text, which one in fifty of gsm_symbolic has among its variables."""
    if isinstance(value, dict):
        return {name: _without_fractions(item) for name, item in value.items()}
    return str(value) if isinstance(value, Fraction) else value


# Settings are text, so that they can be a cache's key.
@lru_cache(maxsize=256)
def _dataset(task: str, settings: str, seed: int) -> Any:
    from reasoning_gym.factory import create_dataset

    return create_dataset(task, seed=seed, size=CHUNK, **_unpacked(settings))


@lru_cache(maxsize=256)
def _settings_at(task: str, config: str, level: int) -> str:
    """The settings of the dataset's own curriculum at `level`, over those of `config`."""
    from reasoning_gym.factory import create_curriculum

    curriculum = create_curriculum(task)
    curriculum.set_global_level(level)
    settings = dataclasses.asdict(curriculum.generate_configuration(_unpacked(config)))
    return json.dumps(codec.encode({name: value for name, value in settings.items() if name not in ("seed", "size")}))


def _unpacked(settings: str) -> dict[str, Any]:
    return codec.decode(json.loads(settings))


def _bound_number_sequences() -> None:
    """Stop number_sequence from squaring numbers of millions of digits (seed 42, item 121: 20 s).

    Items do not change: a sequence that reaches 1,000 is discarded later anyway, and nothing random is drawn between.
    """
    from reasoning_gym.cognition.number_sequences import PatternRule

    apply = PatternRule.apply

    def bounded(self: Any, sequence: list[int], position: int) -> int:
        result = apply(self, sequence, position)
        if abs(result) > _MAX_TERM:
            raise OverflowError("The sequence grows too fast.")  # the generator catches it and tries another rule
        return result

    PatternRule.apply = bounded


if __name__ == "__main__":
    main()
