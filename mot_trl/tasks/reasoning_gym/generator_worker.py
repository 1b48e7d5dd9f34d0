"""The process that makes Reasoning Gym's items: `python -P -m mot_trl.tasks.reasoning_gym.generator_worker`.

Items of five datasets follow the order of Python's sets of strings, so they differ between processes unless
`PYTHONHASHSEED` is fixed; and a configuration can make a generator loop endlessly, which only ending a process stops.
Reads one request a line, answers one item a line.
"""

import contextlib
import dataclasses
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from mot_trl.sandbox import codec

CHUNK = 1_000
"""Items in one dataset object; the next ones come from another object, whose seed is higher by this number."""

_MAX_TERM = 10**9


def main() -> None:
    """Serve requests until stdin closes."""
    # What a generator prints must not get among the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="ascii")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        import reasoning_gym  # noqa: F401
    except ImportError as error:
        print(json.dumps({"missing": str(error)}), file=answers, flush=True)
        return
    _bound_number_sequences()
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        for answer in _answers(json.loads(line)):
            print(json.dumps(answer), file=answers, flush=True)


def _answers(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    serve: Callable[..., Iterator[object]] = {"items": _items, "names": _names, "levels": _levels}[request.pop("do")]
    try:
        for answer in serve(**request):
            yield {"answer": codec.encode(answer)}
    except Exception as error:  # mostly a configuration that the dataset refuses
        yield {"error": f"{type(error).__name__}: {error}"}


def _names() -> Iterator[list[str]]:
    """The names of all datasets but `composite`, which is made of others."""
    from reasoning_gym.factory import DATASETS

    yield sorted(set(DATASETS) - {"composite"})


def _levels(task: str) -> Iterator[int]:
    """The number of levels of a dataset's curriculum; 0 if it has none."""
    from reasoning_gym.factory import create_curriculum, has_curriculum

    attributes = create_curriculum(task).attributes.values() if has_curriculum(task) else ()
    yield max((len(attribute.levels) for attribute in attributes), default=0)


def _items(task: str, config: Any, seed: int, indices: list[int], level: int | None) -> Iterator[dict[str, Any]]:
    """Items with their configuration, in Reasoning Gym's numbering."""
    # JSON has neither tuples nor integer keys, which settings and items have: hence the codec.
    settings = codec.decode(config) if level is None else _configuration(task, codec.decode(config), level)
    key = json.dumps(codec.encode(settings), sort_keys=True)
    for index in indices:
        chunk, place = divmod(index, CHUNK)
        with contextlib.redirect_stdout(io.StringIO()):
            item = _dataset(task, key, seed + chunk * CHUNK)[place]
        yield {"item": item, "config": settings}


# Settings come as text, so that they can be a key.
@lru_cache(maxsize=256)
def _dataset(task: str, key: str, seed: int) -> Any:
    from reasoning_gym.factory import create_dataset

    return create_dataset(task, seed=seed, size=CHUNK, **codec.decode(json.loads(key)))


def _configuration(task: str, config: dict[str, Any], level: int) -> dict[str, Any]:
    """The settings of the dataset's own curriculum at `level`, over those of `config`."""
    from reasoning_gym.factory import create_curriculum

    curriculum = create_curriculum(task)
    curriculum.set_global_level(level)
    settings = dataclasses.asdict(curriculum.generate_configuration(config))
    # They are given with each request instead.
    return {name: value for name, value in settings.items() if name not in ("seed", "size")}


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
