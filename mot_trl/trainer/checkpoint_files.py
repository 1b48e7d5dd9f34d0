"""Which checkpoints of a run are whole, and how those that trained them thought."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers.trainer import TRAINER_STATE_NAME
from transformers.utils import logging

logger = logging.get_logger(__name__)

MANIFEST = "mot_trl.json"
_NAME = re.compile(r"checkpoint-(\d+)")

NEWEST = ("true", "latest")
"""What stands for the newest whole checkpoint: `true` for one that must be there, `latest` for one if there is any."""


def seal(checkpoint: str | Path, mixtures: Mapping[str, Any]) -> None:
    """Write down which files the checkpoint has, and of what size: all but the trainer's state, which comes last."""
    folder = Path(checkpoint)
    files = {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (MANIFEST, TRAINER_STATE_NAME)
    }
    (folder / MANIFEST).write_text(json.dumps({"mixtures": dict(mixtures), "files": files}, indent=2), "utf-8")


def unseal(checkpoint: str | Path) -> None:
    """Let a checkpoint that is to be written over count as half-written until it is."""
    (Path(checkpoint) / TRAINER_STATE_NAME).unlink(missing_ok=True)


def damage(checkpoint: str | Path) -> str | None:
    """What keeps a checkpoint from being whole; None if nothing does.

    Transformers writes `trainer_state.json` last. Checkpoints of stock TRL are not sealed: of them nothing more is
    asked.
    """
    folder = Path(checkpoint)
    if not folder.is_dir():
        return "there is no such folder"
    try:
        json.loads((folder / TRAINER_STATE_NAME).read_text("utf-8"))
    except FileNotFoundError:
        return f"it has no {TRAINER_STATE_NAME}, which is written last"
    except ValueError:
        return f"its {TRAINER_STATE_NAME} is cut short"
    if not (folder / MANIFEST).is_file():
        return None
    for name, size in read_manifest(folder)["files"].items():
        path = folder / name
        if not path.is_file() or path.stat().st_size < size:
            return f"its {name} is {'cut short' if path.is_file() else 'missing'}"
    return None


def read_manifest(checkpoint: str | Path) -> dict[str, Any]:
    """What `seal` wrote: `mixtures` and `files`; both empty where there is nothing."""
    path = Path(checkpoint) / MANIFEST
    return json.loads(path.read_text("utf-8")) if path.is_file() else {"mixtures": {}, "files": {}}


def newest_whole(run_dir: str | Path) -> Path | None:
    """The whole checkpoint of the most steps; None if the run has none. Each one that is not is warned of."""
    found = [(_NAME.fullmatch(path.name), path) for path in Path(run_dir).glob("checkpoint-*")]
    numbered = [(int(match[1]), path) for match, path in found if match]
    for _, path in sorted(numbered, reverse=True):
        reason = damage(path)
        if reason is None:
            return path
        logger.warning(f"{path} is not a whole checkpoint ({reason}), so an earlier one is looked for.")
    return None


def find(resume_from_checkpoint: str | bool | None, run_dir: str | Path) -> str | None:
    """The folder that `resume_from_checkpoint` means, as a flag of the command line or an argument of `train`.

    Args:
        resume_from_checkpoint: A folder; `True` or "true" for the newest whole checkpoint of the run; "latest" for the
            same, or a fresh start where there is none; `None`, `False` or "false" for a fresh start.
        run_dir: The run's folder.

    Raises:
        ValueError: The folder is not a whole checkpoint, or there is none where there must be.
    """
    word = str(resume_from_checkpoint).lower()
    if resume_from_checkpoint is None or word == "false":
        return None
    if word in NEWEST:
        newest = newest_whole(run_dir)
        if newest is None and word == "true":
            raise ValueError(
                f"{run_dir} has no whole checkpoint to resume from; `resume_from_checkpoint='latest'` starts a run "
                "that has none anew."
            )
        return None if newest is None else str(newest)
    reason = damage(str(resume_from_checkpoint))
    if reason is not None:
        raise ValueError(
            f"{resume_from_checkpoint} is not a whole checkpoint: {reason}. `resume_from_checkpoint='latest'` takes "
            "the newest whole one."
        )
    return str(resume_from_checkpoint)


def refuse_other_mixtures(checkpoint: str | Path, mixtures: Mapping[str, Any]) -> None:
    """Refuse to go on from a checkpoint in another way of thinking.

    Args:
        checkpoint: The folder; nothing is refused if it does not say how it was trained.
        mixtures: How the run thinks, as `seal` was given it.

    Raises:
        ValueError: They differ; the message says in what, and what to do.
    """
    trained = read_manifest(checkpoint)["mixtures"]
    if not trained:
        return
    wanted = as_json(mixtures)
    changes = [
        f"{name} {trained.get(name)!r} -> {wanted.get(name)!r}"
        for name in sorted({*trained, *wanted})
        if trained.get(name) != wanted.get(name)
    ]
    if changes:
        raise ValueError(
            f"{checkpoint} was trained with other mixtures ({'; '.join(changes)}). Take its settings, another "
            "`output_dir`, or set `resume_with_changes=True` to go on with the new ones."
        )


def as_json(mixtures: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as they come back from a file: lists for tuples, text for keys."""
    return json.loads(json.dumps(dict(mixtures)))
