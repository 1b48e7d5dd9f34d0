"""Detect complete checkpoints, compare the decoders they were trained with, and check disk space before saving."""

import errno
import json
import os
import re
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers.trainer import TRAINER_STATE_NAME
from transformers.utils import logging

from mot_trl.generation.config import DecoderConfig

logger = logging.get_logger(__name__)

MANIFEST = "mot_trl.json"
MIB = 2**20
FULL = (errno.ENOSPC, errno.EDQUOT)
# transformers' names; `checkpoint-best` and the like are the user's.
_NAME = re.compile(r"checkpoint-(\d+)")

NEWEST = ("true", "latest")
"""Stand for the newest complete checkpoint: `true` if there must be one, `latest` if a fresh start will do."""


def write_manifest(checkpoint: str | Path, mixtures: Mapping[str, Any]) -> None:
    """List the checkpoint's files with their sizes, except the trainer's state, which is written after this."""
    folder = Path(checkpoint)
    files = {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (MANIFEST, TRAINER_STATE_NAME)
    }
    (folder / MANIFEST).write_text(json.dumps({"mixtures": dict(mixtures), "files": files}, indent=2), "utf-8")


def mark_incomplete(checkpoint: str | Path) -> None:
    """Make a checkpoint that is about to be overwritten count as incomplete until it is written again."""
    (Path(checkpoint) / TRAINER_STATE_NAME).unlink(missing_ok=True)


def find_damage(checkpoint: str | Path) -> str | None:
    """Say what makes a checkpoint incomplete; None if it is complete.

    transformers writes `trainer_state.json` last. Checkpoints of stock TRL have no manifest: nothing more is asked of
    them. Sizes suffice for a killed run, which leaves files missing or cut short, and reading every byte of a large
    checkpoint to verify a hash would take minutes.
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
    for name, size in _read_manifest(folder)["files"].items():
        path = folder / name
        if not path.is_file() or path.stat().st_size < size:
            return f"its {name} is {'cut short' if path.is_file() else 'missing'}"
    return None


def newest_complete(run_dir: str | Path) -> Path | None:
    """Find the complete checkpoint of the most steps, with a warning for each newer one that is incomplete."""
    found = [(_NAME.fullmatch(path.name), path) for path in Path(run_dir).glob("checkpoint-*")]
    numbered = [(int(match[1]), path) for match, path in found if match]
    for _, path in sorted(numbered, reverse=True):
        damage = find_damage(path)
        if damage is None:
            return path
        logger.warning(f"{path} is not a complete checkpoint ({damage}), so an earlier one is looked for.")
    return None


def resolve_checkpoint(resume_from_checkpoint: str | bool | None, run_dir: str | Path) -> str | None:
    """Find the folder that `resume_from_checkpoint` means, as a command-line flag or an argument of `train`.

    Args:
        resume_from_checkpoint: A folder; `True` or "true" for the newest complete checkpoint of the run; "latest" for
            the same, or a fresh start if there is none; `None`, `False` or "false" for a fresh start.
        run_dir: The run's folder.

    Raises:
        ValueError: The folder is not a complete checkpoint, or there is none where there must be.
    """
    # The command line hands on text, Python code may hand on booleans.
    word = str(resume_from_checkpoint).lower()
    if resume_from_checkpoint is None or word == "false":
        return None
    if word in NEWEST:
        newest = newest_complete(run_dir)
        if newest is None and word == "true":
            raise ValueError(
                f"{run_dir} has no complete checkpoint to resume from; `resume_from_checkpoint='latest'` starts a run "
                "that has none from the beginning."
            )
        return None if newest is None else str(newest)
    damage = find_damage(str(resume_from_checkpoint))
    if damage is not None:
        raise ValueError(
            f"{resume_from_checkpoint} is not a complete checkpoint: {damage}. `resume_from_checkpoint='latest'` "
            "takes the newest complete one."
        )
    return str(resume_from_checkpoint)


def check_same_mixtures(checkpoint: str | Path, mixtures: Mapping[str, Any]) -> None:
    """Check that a checkpoint was trained with the mixtures of this run, as far as it says.

    Raises:
        ValueError: They differ; the message says in what, and what to do.
    """
    trained, wanted = _comparable(_read_manifest(checkpoint)["mixtures"]), _comparable(mixtures)
    changes = [
        f"{name} {trained.get(name)!r} -> {wanted.get(name)!r}"
        for name in sorted({*trained, *wanted})
        if trained and trained.get(name) != wanted.get(name)
    ]
    if changes:
        raise ValueError(
            f"{checkpoint} was trained with other mixtures ({'; '.join(changes)}). Take its settings, another "
            "`output_dir`, or set `resume_with_changes=True` to continue with the new ones."
        )


def has_same_mixtures(checkpoint: str | Path, mixtures: Mapping[str, Any]) -> bool:
    """Whether a checkpoint says that it was trained with these mixtures."""
    return _comparable(_read_manifest(checkpoint)["mixtures"]) == _comparable(mixtures)


def weight_bytes(model: nn.Module) -> int:
    """Count the bytes that saving a model takes: of an adapter, those of the trained parameters."""
    # PEFT saves the adapter alone; its base may be a hundred times larger.
    is_adapter = hasattr(model, "peft_config")
    return sum(each.nbytes for each in model.parameters() if each.requires_grad or not is_adapter)


def optimizer_bytes(model: nn.Module, optimizer: Any) -> int:
    """Count the bytes of the optimizer's state; before its first step, those of Adam's two moments a parameter."""
    tensors = [] if optimizer is None else [value for state in optimizer.state.values() for value in state.values()]
    if tensors:
        return sum(value.nbytes for value in tensors if isinstance(value, Tensor))
    return 2 * sum(each.nbytes for each in model.parameters() if each.requires_grad)


def missing_space(folder: str | Path, needed: int) -> str | None:
    """Say, in a sentence, that a folder's disk has less space than `needed` bytes; None if it has enough.

    The folder need not exist yet.
    """
    path = Path(folder).absolute()
    # The output folder is made at the first save, which is too late to ask: ask its nearest parent that exists.
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if free >= needed:
        return None
    return f"{folder} has {free / MIB:,.1f} MiB free, and {needed / MIB:,.1f} MiB are needed"


@contextmanager
def explaining_full_disk(folder: str | Path, needed: int) -> Generator[None]:
    """Turn the error of a disk that fills up, while `needed` bytes are written, into one that says so.

    Raises:
        RuntimeError: The disk, or the user's share of it, is full.
    """
    try:
        yield
    except Exception as error:
        # safetensors, which is written in Rust, has an error of its own with the system's message.
        if getattr(error, "errno", None) not in FULL and not any(os.strerror(code) in str(error) for code in FULL):
            raise
        free = shutil.disk_usage(folder).free
        raise RuntimeError(
            f"{folder} is full: {free / MIB:,.1f} MiB are free, and the model takes {needed / MIB:,.1f} MiB. Make "
            "room, and resume from the last checkpoint to save it: `--resume_from_checkpoint latest`."
        ) from error


def _read_manifest(checkpoint: str | Path) -> dict[str, Any]:
    """Read `mixtures` and `files`; both are empty if there is no manifest."""
    path = Path(checkpoint) / MANIFEST
    return json.loads(path.read_text("utf-8")) if path.is_file() else {"mixtures": {}, "files": {}}


def _comparable(mixtures: Mapping[str, Any]) -> dict[str, Any]:
    """Bring settings into one form: as JSON gives them back, with the options that were left to the strategy."""
    # A manifest has lists for tuples, and those of earlier versions have options under other names.
    plain = json.loads(json.dumps(dict(mixtures)))
    try:
        return json.loads(json.dumps(DecoderConfig.from_dict(plain).complete().to_dict())) if plain else {}
    except ValueError:
        return plain
