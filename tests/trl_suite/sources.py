"""Find TRL's tests of a version: in a checkout, a git directory or a source distribution."""

import io
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import NamedTuple

TEST = "tests/test_grpo_trainer.py"
VARIABLE = "MOT_TRL_SUITE"
"""Names the source: a checkout of TRL, its git directory, or a `.tar.gz` of it."""


class NoTestsError(Exception):
    """There is no source at hand that holds TRL's tests; the message says why."""


class Source(NamedTuple):
    """A folder that holds TRL's `tests`, and the version of TRL that they were published with."""

    folder: Path
    version: str


def find(version: str, place: str | None, folder: Path) -> Source:
    """Put TRL's tests into a folder; those of `version` if the source has them, else those that it has.

    Args:
        place: What `VARIABLE` names; None to ask the package index for the source distribution.

    Raises:
        NoTestsError: The source holds no tests, or there is none.
    """
    source = Path(place) if place else _download(version, folder / "download")
    if not source.exists():
        raise NoTestsError(f"{VARIABLE} names {source}, which does not exist")
    if source.is_dir():
        archive = _archive(source, f"v{version}") or _archive(source, "HEAD")
        if archive is None:
            return _found(source, source)
        with tarfile.open(fileobj=io.BytesIO(archive)) as file:
            file.extractall(folder, filter="data")
        return _found(folder, source)
    with tarfile.open(source) as file:
        file.extractall(folder, filter="data")
    (inner,) = [each for each in folder.iterdir() if each.is_dir() and each.name != "download"]
    return _found(inner, source)


def _found(folder: Path, source: Path) -> Source:
    if not (folder / TEST).is_file():
        raise NoTestsError(f"{source.name} holds no {TEST}; let {VARIABLE} name a checkout of TRL")
    return Source(folder, (folder / "VERSION").read_text().strip())


def _archive(repository: Path, revision: str) -> bytes | None:
    """The tests of a revision as a tar archive; None if this is no repository, or has no such revision."""
    git = ["git", "-C", str(repository), "archive", revision, "tests", "VERSION"]
    done = subprocess.run(git, capture_output=True)
    return done.stdout if done.returncode == 0 else None


def _download(version: str, folder: Path) -> Path:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary=:all:"]
    done = subprocess.run([*pip, "--no-build-isolation", f"--dest={folder}", f"trl=={version}"], capture_output=True)
    found = sorted(folder.glob("trl-*.tar.gz"))
    if done.returncode or not found:
        raise NoTestsError(f"TRL's source distribution could not be downloaded; let {VARIABLE} name a checkout of TRL")
    return found[0]
