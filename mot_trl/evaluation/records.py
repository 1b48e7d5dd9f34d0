"""The samples of one arm on disk, so that an evaluation that was killed goes on where it stopped."""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple


class Sample(NamedTuple):
    """One graded completion; nothing in it depends on when or where it was made.

    Attributes:
        item: Index of the data row.
        sample: Index of the completion among the item's.
        reward: What the reward said; None where it could not judge.
        answer: The final answer, None where there is none.
        tokens: Length of the completion, the token that ended it included.
        thinking_tokens: How many of them were thought.
        closed: Whether the thinking was closed.
        ended: Whether the completion ended by itself rather than at the limit.
        text: The visible text.
    """

    item: int
    sample: int
    reward: float | None
    answer: str | None
    tokens: int
    thinking_tokens: int
    closed: bool
    ended: bool
    text: str

    @property
    def correct(self) -> bool:
        """Whether the reward is full."""
        return self.reward is not None and self.reward >= 1


class Records:
    """A folder with `settings.json`, one `part-<process>.jsonl` a process while it runs, and `samples.jsonl` after.

    Args:
        folder: Made if it is not there.
        settings: All that the samples depend on, as plain data.

    Raises:
        ValueError: The folder holds samples that were made with other settings.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        settings = json.loads(json.dumps(settings))
        file = folder / "settings.json"
        if not file.is_file():
            _write(file, json.dumps(settings, indent=2) + "\n")
            return
        before = json.loads(file.read_text(encoding="utf-8"))
        if changed := sorted(name for name in {*before, *settings} if before.get(name) != settings.get(name)):
            told = "; ".join(f"{name} was {before.get(name)!r} and is {settings.get(name)!r}" for name in changed)
            raise ValueError(f"{str(folder)!r} holds samples made with other settings ({told}); give another folder.")

    def read(self) -> list[Sample]:
        """All samples there are, by item and sample."""
        samples: dict[tuple[int, int], Sample] = {}
        for file in [*self.folder.glob("part-*.jsonl"), *self.folder.glob("samples.jsonl")]:
            for line in _whole_lines(file):
                sample = Sample(**json.loads(line))
                samples[sample.item, sample.sample] = sample
        return [samples[key] for key in sorted(samples)]

    def append(self, samples: list[Sample], *, process: int) -> None:
        """Add samples, so that being killed loses none that were added before."""
        file = self.folder / f"part-{process}.jsonl"
        kept = "".join(_whole_lines(file)) if file.is_file() else ""
        if file.is_file() and file.stat().st_size != len(kept.encode()):
            _write(file, kept)  # what was being written when the last run was killed
        with file.open("a", encoding="utf-8") as lines:
            lines.write("".join(_line(sample) for sample in samples))
            lines.flush()
            os.fsync(lines.fileno())

    def finish(self) -> list[Sample]:
        """Join the parts into `samples.jsonl`, in order."""
        samples = self.read()
        _write(self.folder / "samples.jsonl", "".join(map(_line, samples)))
        for part in self.folder.glob("part-*.jsonl"):
            part.unlink()
        return samples


def _line(sample: Sample) -> str:
    return json.dumps(sample._asdict()) + "\n"


def _whole_lines(file: Path) -> list[str]:
    return [line for line in file.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]


def _write(file: Path, text: str) -> None:
    """Write all or nothing."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(file)
